"""Where the service meets the network: connections and their ends."""
