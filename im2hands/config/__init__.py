"""The parameters in `params.yaml`, and the presets that change them."""
