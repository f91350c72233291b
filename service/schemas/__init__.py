"""What the server adds to the wire's models, which are the client's (`rm_client.models`)."""
