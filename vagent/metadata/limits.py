"""Named ceilings of the metadata proxy, each with its reason: bytes and seconds.

They bound what one guest, one upstream or one moment can make this process hold.
Numbers an operator tunes live in `MetadataProxyConfig`; these are not tuned.
"""

from __future__ import annotations

MAX_REQUEST_LINE = 8 * 1024
"""As nginx, Apache and haproxy; Nova's own gunicorn stops at 4,094."""

MAX_REQUEST_HEAD = 16 * 1024
"""Twice the request line; a real cloud-init head is below 300 bytes."""

MAX_REQUEST_HEADERS = 100
"""gunicorn's own limit; uWSGI stops at about 64 variables."""

MAX_REQUEST_BODY = 64 * 1024
"""The only body Nova reads is a password of at most 1,020 bytes."""

MAX_CHUNK_LINE = 256
"""A size of eight hex digits and room for an extension that nobody sends."""

MAX_TRAILERS = 4 * 1024
"""Trailers are checked and thrown away."""

MAX_REPLY_HEAD = 32 * 1024
"""Four times what nginx sends at most; Nova sends about 200 bytes."""

MAX_INTERIM_REPLIES = 8
"""1xx replies before the real one; nobody needs more than two."""

MAX_WHOLE_REPLY = 64 * 1024
"""Below this a reply is relayed only when complete, so the guest gets all or an error.

Nova's largest document is user data, at most 65,535 bytes as base64.
"""

MAX_REPLY_BODY = 256 * 1024 * 1024
"""The end of an endless body; metadata files are far below a MiB."""

MAX_PIPELINED = 16 * 1024
"""Bytes kept of requests that wait behind an unanswered one; then reading stops."""

MAX_GUEST_CONNECTIONS_TOTAL = 8192
"""File descriptors: half of what a service is given by default on Debian."""

MAX_TURNED_AWAY = 16
"""Connections over a guest's cap that may still be told 503; the rest are reset."""

MAX_UPSTREAM_CONNECTIONS = 128
"""Per endpoint: above the threads of any usual nova-api worker set."""

MAX_WAITING = 1024
"""Requests held while no upstream is ready: a rack of guests booting at once."""

MAX_QUOTAS = 16384
"""Guests whose use is remembered: the default identity range; twice the connections."""

MAX_IDENTITIES = 16384
"""Cached identity headers: one for each address of the default identity range."""

MAX_CACHED_PER_GUEST = 256 * 1024
"""Bytes kept for one guest: cloud-init's 28 documents are below 30 KiB, and the largest
user data, asked for in two trees by two clients, still fits."""

MAX_CACHED_TOTAL = 64 * 1024 * 1024
"""Bytes kept for all guests: 2,000 guests that have just booted."""

CACHE_ENTRY_COST = 512
"""Bytes that a kept reply is taken to cost beside its text, so that empty-handed
requests for ever new paths meet the same ceiling."""

STALE_SECONDS = 300.0
"""A reply this old is still given when the upstream has none: time for nova-api to be
restarted or to fail over. Later an error is more honest than an old address."""

HEAD_SECONDS = 10.0
"""A request head must be complete in this time from its first byte."""

BODY_SECONDS = 10.0
"""A request body must be complete in this time from the end of its head."""

IDLE_SECONDS = 60.0
"""A silent keep-alive connection is closed; pollers come back sooner or reconnect."""

LINGER_SECONDS = 2.0
"""After a refusal the guest's bytes are drained, or a reset would eat the reply."""

MAX_LINGERED = 256 * 1024
"""Bytes drained so; four times the largest body allowed."""

DRAIN_SECONDS = 10.0
"""A guest that has not taken its pending reply by then, plus the time below, is cut."""

MIN_DRAIN_RATE = 8 * 1024
"""Bytes per second a guest must take of what is pending."""

POOLED_SECONDS = 30.0
"""An idle upstream connection is kept so long (gunicorn closes after 2, nginx 75)."""

BODY_WINDOW_SECONDS = 10.0
"""A streamed reply body is measured over windows of this length."""

MIN_BODY_RATE = 1024
"""Bytes per second an upstream must send of a streamed body; less is a drip."""

RETRY_SECONDS = 0.5
"""Held requests knock at each endpoint this often, whatever their number."""

MAX_BACKOFF_SECONDS = 8.0
"""Longest pause between knocks at a dead endpoint while nobody waits for it."""

SUSPECT_SECONDS = 5.0
"""So long an endpoint that failed a request is used only after the others."""


MAX_TRACE_TEXT = 256
"""Longest guest-controlled text in a trace line."""
