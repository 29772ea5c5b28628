"""The built-in two-hand dataset, written in the InterHand2.6M layout."""
