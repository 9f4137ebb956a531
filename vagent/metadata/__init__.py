"""A request of a guest becomes a signed request to nova-api, and its reply comes back."""
