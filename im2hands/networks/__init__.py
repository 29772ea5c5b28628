"""Network building blocks and the networks made of them."""
