"""Maintainer's builder of the hand model that the package ships."""
