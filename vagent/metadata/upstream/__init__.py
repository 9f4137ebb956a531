"""The way to nova-api: endpoints, their health, the connection pool, retries."""
