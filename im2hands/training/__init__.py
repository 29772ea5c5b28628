"""Lightning modules, losses, data order and exact resumption."""
