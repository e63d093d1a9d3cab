"""Kubernetes manifests → the pod that is stopped. Pure."""
