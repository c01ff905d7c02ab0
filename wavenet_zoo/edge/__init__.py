"""From a model to a device: exported files that were compared with the network, examples, and the edge table."""
