// Botan 3 as a server. It has no early data.
#include <botan/auto_rng.h>
#include <botan/credentials_manager.h>
#include <botan/data_src.h>
#include <botan/pkcs8.h>
#include <botan/tls_callbacks.h>
#include <botan/tls_ciphersuite.h>
#include <botan/tls_exceptn.h>
#include <botan/tls_policy.h>
#include <botan/tls_server.h>
#include <botan/tls_session.h>
#include <botan/tls_session_manager_memory.h>
#include <botan/x509cert.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sys/socket.h>
#include <unistd.h>

extern "C" {
#include "server.h"
}

namespace tls = Botan::TLS;

namespace {

class Identity final : public Botan::Credentials_Manager {
public:
    Identity(const char *chain, const char *key) {
        Botan::DataSource_Stream certificates(chain), secret(key);
        while (!certificates.end_of_data()) try {
                chain_.emplace_back(certificates);
            } catch (const Botan::Exception &) {
                break; // what follows the last one
            }
        key_ = Botan::PKCS8::load_key(secret);
    }
    std::vector<Botan::X509_Certificate> cert_chain(const std::vector<std::string> &kinds, const std::vector<Botan::AlgorithmIdentifier> &, const std::string &,
                                                    const std::string &) override {
        return std::find(kinds.begin(), kinds.end(), key_->algo_name()) == kinds.end() ? std::vector<Botan::X509_Certificate>() : chain_;
    }
    std::shared_ptr<Botan::Private_Key> private_key_for(const Botan::X509_Certificate &, const std::string &, const std::string &) override { return key_; }

private:
    std::vector<Botan::X509_Certificate> chain_;
    std::shared_ptr<Botan::Private_Key> key_;
};

class Policy final : public tls::Policy {
public:
    explicit Policy(const char *groups) : groups_(groups ? groups : "") {}
    std::vector<tls::Group_Params> key_exchange_groups() const override {
        using G = tls::Group_Params_Code;
        static const std::pair<const char *, G> known[] = {{"X25519", G::X25519}, {"P-256", G::SECP256R1}, {"P-384", G::SECP384R1}, {"P-521", G::SECP521R1}};
        if (groups_.empty()) return tls::Policy::key_exchange_groups();
        std::vector<tls::Group_Params> groups;
        for (size_t at = 0; at <= groups_.size();) {
            const size_t end = std::min(groups_.find(',', at), groups_.size());
            for (const auto &[name, group] : known) if (groups_.substr(at, end - at) == name) groups.emplace_back(group);
            at = end + 1;
        }
        return groups;
    }

private:
    std::string groups_;
};

std::shared_ptr<Botan::RandomNumberGenerator> rng;
std::shared_ptr<tls::Session_Manager> sessions;
std::shared_ptr<Identity> identity;
std::shared_ptr<Policy> policy;

struct Line final : public tls::Callbacks {
    explicit Line(int fd) : fd(fd) {}
    void tls_emit_data(std::span<const uint8_t> data) override {
        while (!data.empty() && !broken) {
            const ssize_t n = send(fd, data.data(), data.size(), 0);
            if (n <= 0) broken = true;
            else data = data.subspan(static_cast<size_t>(n));
        }
    }
    void tls_record_received(uint64_t, std::span<const uint8_t> data) override { in.insert(in.end(), data.begin(), data.end()); }
    void tls_alert(tls::Alert alert) override {
        if (alert.is_fatal()) fprintf(stderr, "alert received: %s\n", alert.type_string().c_str());
        over = over || alert.type() == tls::AlertType::CloseNotify || alert.is_fatal();
    }
    std::string tls_server_choose_app_protocol(const std::vector<std::string> &offered) override {
        if (std::find(offered.begin(), offered.end(), "http/1.1") != offered.end()) return "http/1.1";
        throw tls::TLS_Exception(tls::AlertType::NoApplicationProtocol, "no application protocol");
    }
    void tls_session_established(const tls::Session_Summary &it) override {
        const auto group = it.kex_parameters().value_or("");
        snprintf(text, sizeof text, "%s %s group=%s %s", it.version().to_string().c_str(), it.ciphersuite().to_string().c_str(), group.c_str(), it.was_resumption() ? "resumed" : "full");
    }

    // One read from the wire.
    bool take() {
        uint8_t bytes[16384];
        const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0 || broken) return false;
        try {
            server->received_data(bytes, static_cast<size_t>(n));
        } catch (const std::exception &error) {
            fprintf(stderr, "%s\n", error.what());
            return false;
        }
        return true;
    }

    int fd;
    std::unique_ptr<tls::Server> server;
    std::vector<uint8_t> in;
    bool over = false, broken = false;
    char text[256] = "";
};

// The stack keeps its callbacks too.
std::shared_ptr<Line> &line(void *of) { return *static_cast<std::shared_ptr<Line> *>(of); }

} // namespace

extern "C" {

const char *server_lacks(const served *o) { return o->early ? "Botan has no early data" : nullptr; }

void server_setup(const served *o) {
    try {
        rng = std::make_shared<Botan::AutoSeeded_RNG>();
        sessions = std::make_shared<tls::Session_Manager_In_Memory>(rng);
        identity = std::make_shared<Identity>(o->chain, o->key);
        policy = std::make_shared<Policy>(o->groups);
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        exit(1);
    }
}

void *server_open(int fd) {
    auto *it = new std::shared_ptr<Line>(std::make_shared<Line>(fd));
    try {
        (*it)->server = std::make_unique<tls::Server>(*it, sessions, identity, policy, rng);
        while (!(*it)->server->is_active() && !(*it)->over)
            if (!(*it)->take()) break;
        if ((*it)->server->is_active()) return it;
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
    }
    delete it;
    return nullptr;
}

long server_read(void *of, void *to, size_t size) {
    auto &it = line(of);
    while (it->in.empty())
        if (it->over || !it->take()) return 0;
    const size_t n = std::min(size, it->in.size());
    std::copy_n(it->in.begin(), n, static_cast<uint8_t *>(to));
    it->in.erase(it->in.begin(), it->in.begin() + static_cast<long>(n));
    return static_cast<long>(n);
}

bool server_write(void *of, const void *from, size_t size) {
    try {
        line(of)->server->send(std::span(static_cast<const uint8_t *>(from), size));
        return !line(of)->broken;
    } catch (const std::exception &) {
        return false;
    }
}

bool server_update(void *of) {
    try {
        line(of)->server->update_traffic_keys(true);
        return !line(of)->broken;
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        return false;
    }
}

void server_describe(void *of, char *to, size_t size) { snprintf(to, size, "%s", line(of)->text); }

void server_close(void *of) {
    try {
        line(of)->server->close();
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
    }
    delete static_cast<std::shared_ptr<Line> *>(of);
}

} // extern "C"
