"""The parameters: what `params.yaml` may hold, and the presets that change it."""
