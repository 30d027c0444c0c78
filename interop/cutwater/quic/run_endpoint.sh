#!/bin/sh
# The interface of quic-interop-runner: ROLE is client or server, TESTCASE names the case, 127 means "not supported".
# There is no QUIC in Cutwater yet, so every case is answered so. What brings QUIC brings its cases here.
echo "${ROLE:-no role}, ${TESTCASE:-no case}: not supported" >&2
exit 127
