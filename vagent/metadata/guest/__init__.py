"""The downstream side: a guest's connection, its quota, and who the guest is."""
