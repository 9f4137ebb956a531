"""Runs in a guest: botocore's fetchers of instance metadata. Prints JSON.

`botocore_ask.py [v2]`: with v2 it may not fall back to IMDSv1.
"""

from __future__ import annotations

import json
import sys

from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

HOW = {
    "timeout": 5,
    "num_attempts": 1,
    "config": {"ec2_metadata_v1_disabled": "v2" in sys.argv},
}
credentials = InstanceMetadataFetcher(**HOW).retrieve_iam_role_credentials()
region = InstanceMetadataRegionFetcher(**HOW).retrieve_region()
print(json.dumps({"credentials": credentials, "region": region}))
