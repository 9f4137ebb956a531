"""TLS files in use: read again when they change, and watched for their ends."""
