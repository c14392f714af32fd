"""What clients send and get, a module for each router."""
