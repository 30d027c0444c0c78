// Botan 3. It has no early data.
#include <botan/auto_rng.h>
#include <botan/certstor.h>
#include <botan/credentials_manager.h>
#include <botan/ocsp.h>
#include <botan/tls_alert.h>
#include <botan/tls_callbacks.h>
#include <botan/tls_ciphersuite.h>
#include <botan/tls_client.h>
#include <botan/tls_policy.h>
#include <botan/tls_session.h>
#include <botan/tls_session_manager_memory.h>
#include <botan/tls_signature_scheme.h>
#include <botan/version.h>
#include <botan/x509cert.h>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>

extern "C" {
#include "peer.h"
}

namespace tls = Botan::TLS;

namespace {

std::shared_ptr<Botan::RandomNumberGenerator> rng;
std::shared_ptr<tls::Session_Manager> sessions;

class Trust final : public Botan::Credentials_Manager {
public:
    explicit Trust(const char *file) : store_(Botan::X509_Certificate(file)) {}
    std::vector<Botan::Certificate_Store *> trusted_certificate_authorities(const std::string &, const std::string &) override { return {&store_}; }

private:
    Botan::Certificate_Store_In_Memory store_;
};
std::shared_ptr<Trust> trust;

class Policy final : public tls::Policy {
public:
    explicit Policy(const options *o) : o_(o) {}
    bool allow_tls12() const override { return o_->version == 12; }
    bool allow_tls13() const override { return o_->version == 13; }
    bool require_cert_revocation_info() const override { return o_->status == ASK; }
    bool support_cert_status_message() const override { return o_->status != ASK_NOT; }
    std::vector<tls::Group_Params> key_exchange_groups() const override {
        std::vector<tls::Group_Params> groups;
        for (int i = 0; o_->groups[i]; i++) groups.push_back(static_cast<tls::Group_Params_Code>(group_id(o_->groups[i])));
        return groups.empty() ? tls::Policy::key_exchange_groups() : groups;
    }
    // These are the key shares.
    std::vector<tls::Group_Params> key_exchange_groups_to_offer() const override {
        if (!o_->groups[0]) return tls::Policy::key_exchange_groups_to_offer();
        return {key_exchange_groups().front()};
    }
    std::vector<std::string> allowed_ciphers() const override {
        if (!o_->suites[0]) return tls::Policy::allowed_ciphers();
        std::vector<std::string> ciphers;
        for (int i = 0; o_->suites[i]; i++)
            ciphers.push_back(strstr(o_->suites[i], "CHACHA20") ? "ChaCha20Poly1305" : strstr(o_->suites[i], "256_GCM") ? "AES-256/GCM" : "AES-128/GCM");
        return ciphers;
    }
    std::vector<tls::Signature_Scheme> allowed_signature_schemes() const override {
        if (!o_->signatures) return tls::Policy::allowed_signature_schemes();
        using S = tls::Signature_Scheme;
        if (!strcmp(o_->signatures, "rsa")) return {S::RSA_PSS_SHA256, S::RSA_PSS_SHA384, S::RSA_PSS_SHA512, S::RSA_PKCS1_SHA256, S::RSA_PKCS1_SHA384, S::RSA_PKCS1_SHA512};
        return {S::ECDSA_SHA256, S::ECDSA_SHA384, S::ECDSA_SHA512};
    }

private:
    const options *o_;
};

struct Line final : public tls::Callbacks {
    explicit Line(connection *c) : c(c) {}
    void tls_emit_data(std::span<const uint8_t> data) override {
        if (transport_write(&c->transport, data.data(), data.size()) < 0) broken = true;
    }
    void tls_record_received(uint64_t, std::span<const uint8_t> data) override { in.insert(in.end(), data.begin(), data.end()); }
    void tls_alert(tls::Alert alert) override {
        if (alert.type() == tls::AlertType::CloseNotify) closed = true;
        else if (alert.is_fatal()) c->alert = static_cast<int>(alert.type());
    }
    void tls_verify_cert_chain(const std::vector<Botan::X509_Certificate> &chain, const std::vector<std::optional<Botan::OCSP::Response>> &responses,
                               const std::vector<Botan::Certificate_Store *> &roots, Botan::Usage_Type usage, std::string_view name, const tls::Policy &policy) override {
        const auto leaf = chain.front().BER_encode();
        const bool came = !responses.empty() && responses.front();
        const auto bytes = came ? responses.front()->raw_bits() : std::vector<uint8_t>();
        c->staple = staple_says(bytes.data(), bytes.size(), leaf.data(), leaf.size());
        tls::Callbacks::tls_verify_cert_chain(chain, responses, roots, usage, name, policy);
    }
    void tls_session_established(const tls::Session_Summary &summary) override {
        c->resumed = summary.was_resumption();
        const char *suite = suite_of_id(summary.ciphersuite_code());
        snprintf(c->suite, sizeof c->suite, "%s", suite ? suite : ("TLS_" + summary.ciphersuite().to_string()).c_str());
        if (!c->resumed && !summary.peer_certs().empty()) {
            const auto kind = summary.peer_certs().front().subject_public_key()->algo_name();
            c->certificate = kind == "ECDSA" ? "ecdsa" : kind == "RSA" ? "rsa" : kind == "Ed25519" ? "ed25519" : nullptr;
        }
    }
    bool tls_should_persist_resumption_information(const tls::Session &) override {
        c->tickets++;
        return true;
    }

    connection *c;
    std::unique_ptr<tls::Client> client;
    std::vector<uint8_t> in;
    bool closed = false, broken = false;
};

std::shared_ptr<Line> current;

// One read from the wire.
bool take(connection *c) {
    uint8_t bytes[32768];
    long n = transport_read(&c->transport, bytes, sizeof bytes);
    if (n <= 0) return false;
    try {
        current->client->received_data(bytes, n);
    } catch (const std::exception &error) {
        fail(c, "%s", error.what());
        return false;
    }
    return c->alert < 0 && !current->broken;
}

} // namespace

extern "C" {

const char *stack_name() {
    static char name[64];
    snprintf(name, sizeof name, "Botan %s", Botan::short_version_cstr());
    return name;
}

const char *stack_lacks(const options *o) {
    if (o->mode == EARLY) return "Botan has no early data";
    if (o->mode == RESUME && o->name[0] && o->name[1] && strcmp(o->name[0], o->name[1])) return "Botan offers a session only to the name that it is from";
    return nullptr;
}

void stack_setup(const options *o) {
    rng = std::make_shared<Botan::AutoSeeded_RNG>();
    sessions = std::make_shared<tls::Session_Manager_In_Memory>(rng);
    try {
        trust = std::make_shared<Trust>(o->ca);
    } catch (const std::exception &error) {
        die("%s: %s", o->ca, error.what());
    }
}

bool stack_open(connection *c, bool) {
    const options *o = c->options;
    current = std::make_shared<Line>(c);
    c->tls = current.get();
    c->tickets = 0;
    std::vector<std::string> protocols;
    for (int i = 0; o->alpn[i]; i++) protocols.emplace_back(o->alpn[i]);
    try {
        // The session manager offers what it has for this name and port. The ClientHello leaves here.
        const auto server = c->name ? tls::Server_Information(c->name, static_cast<uint16_t>(443)) : tls::Server_Information();
        current->client = std::make_unique<tls::Client>(current, sessions, trust, std::make_shared<Policy>(o), rng, server,
                                                        o->version == 12 ? tls::Protocol_Version::TLS_V12 : tls::Protocol_Version::TLS_V13, protocols);
    } catch (const std::exception &error) {
        fail(c, "%s", error.what());
        return false;
    }
    return true;
}

size_t stack_early_limit(connection *) { return 0; }
bool stack_write_early(connection *, const void *, size_t) { return false; }

bool stack_handshake(connection *c) {
    while (!current->client->is_active())
        if (!take(c)) {
            fail(c, "handshake: the connection ended");
            return false;
        }
    return true;
}

bool stack_write(connection *c, const void *from, size_t size) {
    const auto *p = static_cast<const uint8_t *>(from);
    try {
        for (size_t at = 0; at < size && !current->broken; at += 16384) current->client->send(std::span(p + at, size - at < 16384 ? size - at : 16384));
    } catch (const std::exception &error) {
        fail(c, "%s", error.what());
        return false;
    }
    return !current->broken;
}

long stack_read(connection *c, void *to, size_t size) {
    auto &in = current->in;
    while (in.empty()) {
        if (current->closed) return 0;
        if (!take(c)) {
            if (!in.empty()) break;
            return current->closed ? 0 : -1;
        }
    }
    size_t n = in.size() < size ? in.size() : size;
    memcpy(to, in.data(), n);
    in.erase(in.begin(), in.begin() + static_cast<long>(n));
    return static_cast<long>(n);
}

bool stack_key_update(connection *c) {
    try {
        current->client->update_traffic_keys(true);
        return true;
    } catch (const std::exception &error) {
        fail(c, "%s", error.what());
        return false;
    }
}

void stack_describe(connection *c) {
    if (!c->tls || !c->handshake) return;
    c->version = c->options->version; // the only one that was offered
    if (c->version == 12) c->tickets = -1;
    const char *group = group_of_id(c->transport.group);
    if (group) snprintf(c->group, sizeof c->group, "%s", group);
    snprintf(c->alpn, sizeof c->alpn, "%s", current->client->application_protocol().c_str());
}

void stack_close_notify(connection *c) {
    try {
        current->client->close();
    } catch (const std::exception &error) {
        fail(c, "%s", error.what());
    }
}

void stack_free(connection *c) {
    if (c->tls && c->handshake && !current->broken) stack_close_notify(c);
    c->tls = nullptr;
}

} // extern "C"
