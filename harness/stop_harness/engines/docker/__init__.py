"""The docker engine: any Docker Engine API, Podman's as well."""
