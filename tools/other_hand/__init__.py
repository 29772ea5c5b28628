"""Another hand model than the built-in one, for pictures that the networks have not been trained on."""
