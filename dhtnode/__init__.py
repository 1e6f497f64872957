"""The node: identity, wire, network, storage, command line, composition."""
