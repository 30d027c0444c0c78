// JSSE. What it does not tell (the group, whether a session was resumed) is read from the ServerHello on the wire.

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.CertPathTrustManagerParameters;
import javax.net.ssl.ExtendedSSLSession;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

public class Client {
    static final Map<String, String> GROUPS = Map.of("X25519", "x25519", "P-256", "secp256r1", "P-384", "secp384r1", "P-521", "secp521r1", "X25519MLKEM768", "X25519MLKEM768");
    static final Map<Integer, String> GROUP_IDS = Map.of(0x1d, "X25519", 0x17, "P-256", 0x18, "P-384", 0x19, "P-521", 0x11ec, "X25519MLKEM768");
    static final String[] ECDSA = {"ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512"};
    static final String[] RSA = {"rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512", "rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512"};

    // --- arguments ---

    static final Map<String, String> options = new HashMap<>(
            Map.of("mode", "full", "version", "1.3", "alpn", "http/1.1", "method", "GET", "path", "/", "requests", "1", "end", "close", "timeout", "10", "body-bytes", "0"));
    static final List<String> headers = new ArrayList<>();

    static void parse(String[] arguments) {
        List<String> known = List.of("connect", "name", "ca", "mode", "second-connect", "second-name", "version", "alpn", "groups", "suites", "signatures", "status", "method", "path", "header",
                "header-bytes", "body-bytes", "requests", "end", "timeout", "hold-finished");
        for (int i = 0; i < arguments.length; i++) {
            String key = arguments[i].replaceFirst("^--", "");
            if (key.equals("key-update") || key.equals("retry-425")) options.put(key, "yes");
            else if (!known.contains(key) || i + 1 == arguments.length) die("no such argument, or no value: " + arguments[i]);
            else if (key.equals("header")) headers.add(arguments[++i]);
            else options.put(key, arguments[++i]);
        }
        for (String key : List.of("connect", "name", "ca")) if (!options.containsKey(key)) die("--" + key + " is required");
        options.putIfAbsent("second-connect", options.get("connect"));
        options.putIfAbsent("second-name", options.get("name"));
        if (options.containsKey("header-bytes")) headers.add("X-Padding: " + "p".repeat(Integer.parseInt(options.get("header-bytes"))));
    }

    static int number(String key) {
        return Integer.parseInt(options.get(key));
    }

    static String[] list(String key) {
        String value = options.get(key);
        return value == null || value.equals("-") ? new String[0] : value.split(",");
    }

    static void die(String why) {
        System.err.println(why);
        System.exit(1);
    }

    static void unsupported(String why) {
        System.out.println("{\"unsupported\": " + text(why) + "}");
        System.exit(127);
    }

    // --- the wire ---

    static volatile boolean timedOut;
    static volatile Socket current;

    static class Tap extends Socket {
        boolean ended, hrr, certificate;
        Boolean resumed;
        String group;
        private InputStream in;

        @Override
        public synchronized InputStream getInputStream() throws IOException {
            if (in == null) {
                in = new FilterInputStream(super.getInputStream()) {
                    private final ByteArrayOutputStream start = new ByteArrayOutputStream();

                    @Override
                    public int read() throws IOException {
                        byte[] one = new byte[1];
                        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
                    }

                    @Override
                    public int read(byte[] to, int at, int size) throws IOException {
                        int n = super.read(to, at, size);
                        if (n < 0) ended = true;
                        else if (start.size() < 8192) {
                            start.write(to, at, n);
                            look(start.toByteArray());
                        }
                        return n;
                    }
                };
            }
            return in;
        }

        /** The plaintext messages: ServerHello, a HelloRetryRequest before it (RFC 8446 section 4.1.3; a change_cipher_spec may follow), in TLS 1.2 what follows too. */
        private void look(byte[] b) {
            for (int at = 0; at + 5 <= b.length && (b[at] != 20 || hrr); ) {
                int end = at + 5 + ((b[at + 3] & 0xff) << 8 | b[at + 4] & 0xff);
                if (end > b.length) return;
                for (int m = at + 5; b[at] == 22 && m + 4 <= end; ) {
                    int length = (b[m + 1] & 0xff) << 16 | (b[m + 2] & 0xff) << 8 | b[m + 3] & 0xff;
                    if (m + 4 + length > end) break;
                    if (b[m] == 2 && length > 40) hello(Arrays.copyOfRange(b, m + 4, m + 4 + length));
                    if (b[m] == 11) certificate = true;
                    if (b[m] == 12) group = GROUP_IDS.get((b[m + 5] & 0xff) << 8 | b[m + 6] & 0xff);
                    m += 4 + length;
                }
                at = end;
            }
        }

        private void hello(byte[] b) {
            boolean retry = (b[2] & 0xff) == 0xcf && (b[3] & 0xff) == 0x21 && (b[4] & 0xff) == 0xad && (b[5] & 0xff) == 0x74;
            if (retry) {
                hrr = true;
                return;
            }
            int at = 2 + 32 + 1 + (b[34] & 0xff) + 3;
            boolean psk = false, tls13 = false;
            for (at += 2; at + 4 <= b.length; ) {
                int type = (b[at] & 0xff) << 8 | b[at + 1] & 0xff, length = (b[at + 2] & 0xff) << 8 | b[at + 3] & 0xff;
                if (type == 41) psk = true;
                if (type == 43) tls13 = true;
                if (type == 51) group = GROUP_IDS.get((b[at + 4] & 0xff) << 8 | b[at + 5] & 0xff);
                at += 4 + length;
            }
            if (tls13) resumed = psk;
        }
    }

    // --- one connection ---

    static class Connection {
        boolean handshake, hrr;
        String version, group, suite, alpn, certificate, staple, ended, error;
        Boolean resumed;
        long sent;
        List<String> responses = new ArrayList<>();

        String json() {
            return "{\"handshake\": " + handshake + ", \"version\": " + text(version) + ", \"resumed\": " + resumed + ", \"early\": \"none\", \"hrr\": " + hrr + ", \"group\": " + text(group) + ", \"suite\": "
                    + text(suite) + ", \"alpn\": " + text(alpn) + ", \"certificate\": " + text(certificate) + ", \"staple\": " + text(staple) + ", \"tickets\": null, \"responses\": [" + String.join(", ", responses) + "], \"sent\": " + sent
                    + ", \"ended\": " + text(ended) + ", \"error\": " + text(error) + "}";
        }
    }

    static String text(String value) {
        if (value == null || value.isEmpty()) return "null";
        StringBuilder to = new StringBuilder("\"");
        for (char c : value.toCharArray()) to.append(c == '"' || c == '\\' ? "\\" + c : c < 32 ? String.format("\\u%04x", (int) c) : c);
        return to.append('"').toString();
    }

    static SSLContext context() throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        int n = 0;
        try (InputStream in = Files.newInputStream(Path.of(options.get("ca")))) {
            for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(in)) store.setCertificateEntry("ca" + n++, certificate);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        PKIXBuilderParameters parameters = new PKIXBuilderParameters(store, new X509CertSelector());
        parameters.setRevocationEnabled(asks());
        if (asks()) {
            var checker = (PKIXRevocationChecker) CertPathBuilder.getInstance("PKIX").getRevocationChecker();
            checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.ONLY_END_ENTITY, PKIXRevocationChecker.Option.NO_FALLBACK));
            parameters.addCertPathChecker(checker);
        }
        trust.init(new CertPathTrustManagerParameters(parameters));
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Looking((X509ExtendedTrustManager) trust.getTrustManagers()[0])}, null);
        return context;
    }

    static boolean asks() {
        return "yes".equals(options.get("status"));
    }

    static volatile String staple;

    /** Verifies as JSSE does, and keeps what that says of the staple: there is no responder that could be asked instead. */
    static class Looking extends X509ExtendedTrustManager {
        private final X509ExtendedTrustManager inner;

        Looking(X509ExtendedTrustManager inner) {
            this.inner = inner;
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind, Socket socket) throws CertificateException {
            var session = (ExtendedSSLSession) ((SSLSocket) socket).getHandshakeSession();
            boolean none = session.getStatusResponses().isEmpty();
            staple = none ? "none" : null;
            try {
                inner.checkServerTrusted(chain, kind, socket);
                if (!none && asks()) staple = "good";
            } catch (CertificateException e) {
                for (Throwable why = e; why != null; why = why.getCause()) if (why instanceof CertificateRevokedException) staple = "revoked";
                throw e;
            }
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind, SSLEngine engine) throws CertificateException {
            throw new CertificateException("sockets only");
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind) throws CertificateException {
            throw new CertificateException("sockets only");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind, Socket socket) throws CertificateException {
            throw new CertificateException("servers only");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind, SSLEngine engine) throws CertificateException {
            throw new CertificateException("servers only");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind) throws CertificateException {
            throw new CertificateException("servers only");
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return inner.getAcceptedIssuers();
        }
    }

    static SSLParameters parameters(String name) {
        SSLParameters p = new SSLParameters();
        p.setProtocols(new String[] {"TLSv" + options.get("version")});
        p.setApplicationProtocols(list("alpn"));
        if (name.equals("-")) p.setServerNames(List.of());
        else {
            p.setServerNames(List.of(new SNIHostName(name)));
            p.setEndpointIdentificationAlgorithm("HTTPS");
        }
        if (list("groups").length > 0) p.setNamedGroups(Arrays.stream(list("groups")).map(GROUPS::get).toArray(String[]::new));
        if (list("suites").length > 0) p.setCipherSuites(list("suites"));
        if (options.containsKey("signatures")) p.setSignatureSchemes(options.get("signatures").equals("rsa") ? RSA : ECDSA);
        return p;
    }

    static void request(OutputStream out, Connection c, String host, boolean first, boolean last) throws IOException {
        int body = first ? 0 : number("body-bytes");
        StringBuilder head = new StringBuilder((first ? "GET /" : options.get("method") + " " + options.get("path")) + " HTTP/1.1\r\nHost: " + host + "\r\n");
        if (!first) for (String header : headers) head.append(header).append("\r\n");
        if (body > 0) head.append("Content-Length: ").append(body).append("\r\n");
        if (last) head.append("Connection: close\r\n");
        out.write(head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1));
        byte[] part = new byte[Math.min(body, 1 << 16)];
        Arrays.fill(part, (byte) 'x');
        for (int left = body; left > 0; left -= part.length) out.write(part, 0, Math.min(left, part.length));
        out.flush();
        c.sent += body;
    }

    static String line(InputStream in) throws IOException {
        StringBuilder to = new StringBuilder();
        for (int b; (b = in.read()) != '\n'; ) {
            if (b < 0) throw new EOFException("the connection ended before an answer");
            to.append((char) b);
        }
        return to.toString().trim();
    }

    static long content(InputStream in, long size) throws IOException {
        byte[] part = new byte[1 << 16];
        for (long left = size; left > 0; ) {
            int n = in.read(part, 0, (int) Math.min(left, part.length));
            if (n < 0) throw new EOFException("the answer is truncated");
            left -= n;
        }
        return size;
    }

    static void answer(InputStream in, Connection c, String method) throws IOException {
        int status;
        long length, bytes = 0;
        boolean chunked;
        do {
            status = Integer.parseInt(line(in).split(" ")[1]);
            length = -1;
            chunked = false;
            for (String field; !(field = line(in).toLowerCase()).isEmpty(); ) {
                if (field.startsWith("content-length:")) length = Long.parseLong(field.substring(15).trim());
                if (field.startsWith("transfer-encoding:") && field.contains("chunked")) chunked = true;
            }
        } while (status / 100 == 1);
        if (method.equals("HEAD") || status == 204 || status == 304) bytes = 0;
        else if (chunked) {
            for (long size; (size = Long.parseLong(line(in).split(";")[0], 16)) > 0; line(in)) bytes += content(in, size);
            while (!line(in).isEmpty()) {}
        } else if (length >= 0) bytes = content(in, length);
        else bytes = in.transferTo(OutputStream.nullOutputStream());
        c.responses.add("{\"status\": " + status + ", \"bytes\": " + bytes + ", \"before_finished\": false}");
    }

    static String ending(Exception e, Tap tap) {
        String message = String.valueOf(e.getMessage());
        Matcher alert = Pattern.compile("Received fatal alert: (\\w+)").matcher(message);
        if (alert.find()) return "alert:" + alert.group(1);
        if (timedOut || e instanceof SocketTimeoutException) return "timeout";
        if (tap.ended) return "eof";
        if (message.contains("reset") || message.contains("Broken pipe") || message.contains("refused")) return "reset";
        return "local";
    }

    static boolean run(SSLContext context, Connection c, int index) {
        boolean first = index == 0 && !options.get("mode").equals("full");
        String name = options.get(index == 0 ? "name" : "second-name"), where = options.get(index == 0 ? "connect" : "second-connect");
        int colon = where.lastIndexOf(':');
        Tap tap = new Tap();
        current = tap;
        SSLSocket socket = null;
        staple = null;
        try {
            tap.connect(new InetSocketAddress(where.substring(0, colon).replaceAll("[\\[\\]]", ""), Integer.parseInt(where.substring(colon + 1))));
            tap.setTcpNoDelay(true);
            // Host and port are the session cache's key: alike for all, since it is for us to say where a session is offered.
            socket = (SSLSocket) context.getSocketFactory().createSocket(tap, "peer", 443, true);
            socket.setSSLParameters(parameters(name));
            socket.startHandshake();
            c.handshake = true;
            if ("h2".equals(socket.getApplicationProtocol())) {
                c.ended = "local";
                return true;
            }
            InputStream in = new java.io.BufferedInputStream(socket.getInputStream(), 1 << 16);
            boolean update = options.containsKey("key-update") && !first;
            int count = first ? 1 : number("requests") + (update ? 1 : 0);
            for (int i = 0; i < count; i++) {
                // In TLS 1.3 another startHandshake() is a KeyUpdate that asks for one in return.
                if (update && i == 1) socket.startHandshake();
                request(socket.getOutputStream(), c, name.equals("-") ? where : name, first, i == count - 1 && (first || options.get("end").equals("close")));
                answer(in, c, first ? "GET" : options.get("method"));
            }
            in.transferTo(OutputStream.nullOutputStream());
            c.ended = "close_notify";
            return true;
        } catch (Exception e) {
            boolean answered = c.responses.size() >= number("requests");
            c.ended = ending(e, tap);
            if (!answered || timedOut) c.error = (c.handshake ? "" : "handshake: ") + e.getMessage();
            return answered && !timedOut;
        } finally {
            c.hrr = tap.hrr;
            c.staple = staple;
            if (c.handshake) describe(c, socket, tap);
            try {
                if (socket != null) socket.close();
                tap.close();
            } catch (IOException e) {
                System.err.println(e);
            }
        }
    }

    static void describe(Connection c, SSLSocket socket, Tap tap) {
        c.version = socket.getSession().getProtocol().replace("TLSv", "");
        c.suite = socket.getSession().getCipherSuite();
        c.alpn = socket.getApplicationProtocol();
        c.group = tap.group;
        c.resumed = tap.resumed != null ? tap.resumed : !tap.certificate; // TLS 1.2 shows its Certificate message
        try {
            var leaf = (X509Certificate) socket.getSession().getPeerCertificates()[0];
            String kind = leaf.getPublicKey().getAlgorithm();
            if (!c.resumed) c.certificate = kind.equals("EC") ? "ecdsa" : kind.equals("RSA") ? "rsa" : kind.equals("EdDSA") || kind.equals("Ed25519") ? "ed25519" : null;
        } catch (Exception e) {
            System.err.println(e);
        }
    }

    public static void main(String[] arguments) throws Exception {
        parse(arguments);
        String[] groups = list("groups");
        if (options.get("mode").equals("early")) unsupported("JSSE has no early data");
        boolean named = Arrays.asList(groups).contains("X25519"), others = Arrays.stream(groups).anyMatch(g -> g.startsWith("P-"));
        if (groups.length > 1 && named && others) unsupported("JSSE sends two key shares where both X25519 and one of NIST's curves are offered");
        if (options.containsKey("status")) System.setProperty("jdk.tls.client.enableStatusRequestExtension", Boolean.toString(asks()));
        SSLContext context = context();
        Thread watch = new Thread(() -> {
            try {
                Thread.sleep((long) (Double.parseDouble(options.get("timeout")) * 1000));
                timedOut = true;
                current.close();
            } catch (Exception e) {
                System.err.println(e);
            }
        });
        watch.setDaemon(true);
        watch.start();
        List<String> connections = new ArrayList<>();
        boolean ok = true;
        for (int index = 0; ok && index < (options.get("mode").equals("full") ? 1 : 2); index++) {
            Connection c = new Connection();
            try {
                ok = run(context, c, index);
            } catch (IllegalArgumentException e) {
                unsupported(String.valueOf(e.getMessage()));
            }
            connections.add(c.json());
        }
        System.out.println("{\"stack\": " + text("OpenJDK " + System.getProperty("java.version")) + ", \"connections\": [" + String.join(", ", connections) + "]}");
        System.exit(ok ? 0 : 1);
    }
}
