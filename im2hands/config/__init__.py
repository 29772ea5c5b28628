"""The parameters: what `params.yaml` may contain, and the presets that change it."""
