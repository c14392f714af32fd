"""Commands of auth-service, as subcommands of `kalpi`."""
