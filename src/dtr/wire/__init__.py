"""What goes over a socket between a policy and a robot: docs/serving.md. Needs numpy and safetensors alone, so that it can be imported
in a foreign simulator's environment."""
