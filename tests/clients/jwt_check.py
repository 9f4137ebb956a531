"""A verifier: PyJWT with a published key set.

`jwt_check.py TOKEN KEYS AUDIENCE NONCE`: prints the claims as JSON, or the name of what
is wrong. TOKEN and KEYS are files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jwt

token = Path(sys.argv[1]).read_text(encoding="utf-8")
keys = jwt.PyJWKSet.from_json(Path(sys.argv[2]).read_text(encoding="utf-8"))
audience, nonce = sys.argv[3:5]
try:
    claims = jwt.decode(
        token,
        keys[jwt.get_unverified_header(token)["kid"]],
        algorithms=["RS256"],
        audience=audience,
        options={"require": ["exp", "iat", "nbf", "iss", "sub", "aud"]},
    )
    print(json.dumps(claims if claims.get("nonce", "") == nonce else "other nonce"))
except (jwt.PyJWTError, KeyError) as error:
    print(json.dumps(type(error).__name__))
