"""Runs in a guest: botocore's fetchers of instance metadata. Prints JSON."""

from __future__ import annotations

import json

from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

credentials = InstanceMetadataFetcher(
    timeout=5, num_attempts=1
).retrieve_iam_role_credentials()
region = InstanceMetadataRegionFetcher(timeout=5, num_attempts=1).retrieve_region()
print(json.dumps({"credentials": credentials, "region": region}))
