"""Commands of ratelimit-service, as subcommands of `kalpi`."""
