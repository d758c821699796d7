"""HTTP connections: how many, how long each may take, and who is hung up on."""
