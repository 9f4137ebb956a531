"""The fixed limits of the metadata proxy, in bytes and seconds, each with its reason.

They bound the memory and time that one guest, one upstream, or all of them together can
cost this process. Limits that an operator can set are in `MetadataProxyConfig`.
"""

from __future__ import annotations

MAX_REQUEST_LINE = 8 * 1024
"""As in nginx, Apache and haproxy. nova-api's gunicorn takes 4,094."""

MAX_REQUEST_HEAD = 16 * 1024
"""Twice the request line. The heads of cloud-init are below 300 bytes."""

MAX_REQUEST_HEADERS = 100
"""As in gunicorn; uWSGI takes about 64."""

MAX_REQUEST_BODY = 64 * 1024
"""The only body that Nova reads is a password of at most 1,020 bytes."""

MAX_CHUNK_LINE = 256
"""Room for a size of eight hex digits and an extension, which no client sends."""

MAX_CHUNK_OVERHEAD = 8 * 1024
"""Bytes of a request's chunked body that are not content: size lines, line ends and
trailers. Enough for 1,600 chunks, which take a millisecond to decode."""

MAX_TRAILERS = 4 * 1024
"""All trailers of a body together; they are checked and dropped."""

MAX_REPLY_HEAD = 32 * 1024
"""The head of an upstream's response: nginx sends 8 KiB at most, Nova 200 bytes."""

MAX_INTERIM_REPLIES = 8
"""1xx responses before the final one; no server sends more than two."""

MAX_WHOLE_REPLY = 64 * 1024
"""A response up to this size is sent to the guest only when it is complete, so that the
guest gets all of it or an error.

Nova's largest document is user data, at most 65,535 bytes as base64.
"""

MAX_REPLY_BODY = 256 * 1024 * 1024
"""Where a body without end is cut; documents of metadata are far below a MiB."""

MAX_PIPELINED = 16 * 1024
"""What a guest may send behind an unanswered request until its socket is no longer
read."""

MAX_REQUESTS_PER_TURN = 1
"""Requests of one connection that are begun in one turn of the reactor, if they are at
hand: with four, a guest that pipelines over 64 connections delayed others by twice as
much, and had half as many answers itself, the rest refused for being too many."""

OVER_RATE_SECONDS = 0.5
"""A connection is not read for so long after a refusal for the guest's rate."""

MAX_GUEST_CONNECTIONS_TOTAL = 8192
"""Half of the file descriptors that a service has by default on Debian."""

RESERVED = 8
"""The last eighth of all connections, and of the places in which requests wait for an
upstream connection, is kept for guests with few of them."""

FEW_CONNECTIONS = 4
FEW_WAITING = 2
"""What is few: cloud-init asks for one document at a time, over one connection."""

MAX_TURNED_AWAY = 16
"""So many connections beyond a guest's limit are answered 503; more are reset."""

MAX_UPSTREAM_CONNECTIONS = 128
"""Per endpoint: more than the worker threads of a usual nova-api."""

MAX_WAITING = 1024
"""Requests that wait for an upstream connection: a rack of guests booting at once."""

MAX_LONG_POLLS = 4
"""Requests of one guest that wait until a document changes; a guest's agent has one."""

PROBE_AFTER_SECONDS, PROBE_SECONDS, PROBES = 60, 15, 4
"""TCP keepalive for a guest whose request waits for a change: a guest that is gone
without a word frees its places two minutes later."""

AGAIN_SECONDS = 10.0
"""How often a document is asked for that somebody waits for, if no change is told: one
of a server elsewhere, or one that depends on more than its instance."""

MAX_QUOTAS = 16384
"""Guests whose quota is remembered: all of the default identity range, and more than
there can be connections."""

MAX_IDENTITIES = 16384
"""Identities with signed headers that are remembered: one for each address of the
default identity range."""

MAX_CACHED_PER_GUEST = 256 * 1024
"""Cached for one guest. cloud-init's 28 documents are below 30 KiB, and the largest
user data, asked for in both trees by two clients, still fits."""

MAX_CACHED_TOTAL = 64 * 1024 * 1024
"""Cached for all guests: 2,000 guests that have just booted."""

CACHE_ENTRY_COST = 512
"""What a cached response counts for beside its bytes, so that many small ones meet the
same limits as few large ones."""

STALE_SECONDS = 300.0
"""How long a cached response is served when the upstream fails: enough to restart
nova-api or to fail over. After that an error does less harm than an old document."""

HEAD_SECONDS = 10.0
"""From the first byte of a request's head to its last."""

BODY_SECONDS = 10.0
"""From the end of a request's head to the end of its body."""

IDLE_SECONDS = 60.0
"""Until a connection without requests is closed. Clients that poll come back sooner, or
connect again."""

IDLE_AFTER_404_SECONDS = 3.0
"""The same after a 404: clients that look at the status alone leave its body unread,
and neither use the connection again nor close it; 64 of these would shut the guest out.
"""

LINGER_SECONDS = 2.0
"""How long the rest of a refused request is read and dropped. To close the socket at
once would send a reset, which can reach the guest before it has read the response."""

MAX_LINGERED = 256 * 1024
"""How much of a refused request is read and dropped: four of the largest bodies."""

DRAIN_SECONDS = 10.0
"""How long a guest has to read a response, besides the time that its size adds."""

MIN_DRAIN_RATE = 8 * 1024
"""Bytes per second that a guest must read; adds its share to DRAIN_SECONDS."""

QUIET_SECONDS = 0.05
"""How long an idle upstream connection must have been quiet before it may serve another
guest. Bytes that an upstream sends beyond a response follow it within milliseconds; 128
connections that rest so long still serve 2,500 guests with one request each a second.
"""

POOLED_SECONDS = 30.0
"""Until an idle upstream connection is closed. gunicorn closes after 2, nginx 75."""

BODY_WINDOW_SECONDS = 10.0
"""The rate of a streamed body is measured over windows of this length."""

MIN_BODY_RATE = 1024
"""Bytes per second that an upstream must send of a streamed body."""

RETRY_SECONDS = 0.5
"""Between two attempts to connect to an endpoint that is down, while requests wait:
one attempt for all of them."""

ASK_AGAIN_SECONDS = 2.0
"""Between two questions for an instance that the upstream does not know, where nothing
tells that it has come: five times until cloud-init gives up."""

MAX_BACKOFF_SECONDS = 8.0
"""The longest pause between two such attempts while no request waits."""

SUSPECT_SECONDS = 5.0
"""How long an endpoint that failed a request is used only where no other is up."""

MAX_TRACE_TEXT = 256
"""Characters of a text in a trace that a guest chose."""
