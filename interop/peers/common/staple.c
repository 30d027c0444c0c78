/* Reads an OCSP response (RFC 6960 section 4.2.1), as far as it takes to say what of which certificate. For stacks that hand it out as it came, and
 * beside those that verify it. */
#include "peer.h"

#include <string.h>

struct der {
    const unsigned char *at, *end;
};

enum { INTEGER = 0x02, OCTETS = 0x04, OID = 0x06, ENUMERATED = 0x0a, TIME = 0x18, SEQUENCE = 0x30, FIRST = 0xa0 };

/* The next element's contents; of any kind if `tag` is 0. Its tag is returned, 0 if it is not there. */
static int take(struct der *from, int tag, struct der *contents) {
    if (from->end - from->at < 2) return 0;
    int found = from->at[0];
    size_t length = from->at[1], head = 2;
    if (length & 0x80) {
        size_t count = length & 0x7f;
        if (count < 1 || count > 3 || (size_t)(from->end - from->at) < 2 + count) return 0;
        for (length = 0; head < 2 + count; head++) length = length << 8 | from->at[head];
    }
    if ((size_t)(from->end - from->at) < head + length || (tag && tag != found)) return 0;
    *contents = (struct der){from->at + head, from->at + head + length};
    from->at += head + length;
    return found;
}

static bool serial_of(const unsigned char *leaf, size_t size, struct der *serial) {
    struct der all = {leaf, leaf + size}, certificate, body, version;
    if (!take(&all, SEQUENCE, &certificate) || !take(&certificate, SEQUENCE, &body)) return false;
    if (body.at < body.end && *body.at == FIRST && !take(&body, FIRST, &version)) return false;
    return take(&body, INTEGER, serial);
}

const char *staple_says(const unsigned char *response, size_t size, const unsigned char *leaf, size_t leaf_size) {
    struct der all = {response, response + size}, outer, status, wrapped, pair, kind, octets, basic, data, skipped, list, single, id, serial, wanted;
    if (!response || !size) return "none";
    if (!take(&all, SEQUENCE, &outer) || !take(&outer, ENUMERATED, &status) || !take(&outer, FIRST, &wrapped) || !take(&wrapped, SEQUENCE, &pair) ||
        !take(&pair, OID, &kind) || !take(&pair, OCTETS, &octets) || !take(&octets, SEQUENCE, &basic) || !take(&basic, SEQUENCE, &data))
        return "malformed";
    if (data.at < data.end && *data.at == FIRST) take(&data, FIRST, &skipped); /* the version */
    if (!take(&data, 0, &skipped) || !take(&data, TIME, &skipped) || !take(&data, SEQUENCE, &list) || !serial_of(leaf, leaf_size, &wanted)) return "malformed";
    while (take(&list, SEQUENCE, &single)) {
        if (!take(&single, SEQUENCE, &id) || !take(&id, SEQUENCE, &skipped) || !take(&id, OCTETS, &skipped) || !take(&id, OCTETS, &skipped) || !take(&id, INTEGER, &serial))
            return "malformed";
        if (serial.end - serial.at != wanted.end - wanted.at || memcmp(serial.at, wanted.at, wanted.end - wanted.at)) continue;
        switch (take(&single, 0, &skipped) & 0x1f) {
        case 0: return "good";
        case 1: return "revoked";
        default: return "unknown";
        }
    }
    return "other";
}
