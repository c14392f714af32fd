from tests.local.standins.standin import serve

serve("RATELIMIT")
