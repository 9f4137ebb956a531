"""A guest's request becomes a signed one to nova-api, and its reply comes back."""
