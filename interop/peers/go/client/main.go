// crypto/tls: it has no early data over TCP.
package main

import (
	"bufio"
	"bytes"
	"cutwater/peer/ocsp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type response struct {
	Status         int   `json:"status"`
	Bytes          int64 `json:"bytes"`
	BeforeFinished *bool `json:"before_finished"`
}

type connection struct {
	Handshake   bool       `json:"handshake"`
	Version     *string    `json:"version"`
	Resumed     *bool      `json:"resumed"`
	Early       string     `json:"early"`
	HRR         bool       `json:"hrr"`
	Group       *string    `json:"group"`
	Suite       *string    `json:"suite"`
	ALPN        *string    `json:"alpn"`
	Certificate *string    `json:"certificate"`
	Staple      *string    `json:"staple"`
	Tickets     *int       `json:"tickets"`
	Responses   []response `json:"responses"`
	Sent        int64      `json:"sent"`
	Ended       *string    `json:"ended"`
	Error       *string    `json:"error"`
}

// Whatever the configuration says, crypto/tls goes by this order and sends the first one's key share.
var order = []string{"X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"}

var groups = map[string]tls.CurveID{"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521, "X25519MLKEM768": tls.X25519MLKEM768}

type options struct {
	connect, name               [2]string
	ca, mode, version           string
	alpn, groups, suites        []string
	signatures, status          string
	method, path                string
	header                      []string
	headerBytes, bodyBytes      int
	requests                    int
	keyUpdate, retry425         bool
	end                         string
	timeout                     float64
}

func parse(arguments []string) options {
	o := options{mode: "full", version: "1.3", alpn: []string{"http/1.1"}, method: "GET", path: "/", requests: 1, end: "close", timeout: 10}
	list := func(text string) []string {
		if text == "-" {
			return nil
		}
		return strings.Split(text, ",")
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			die(err.Error())
		}
		return n
	}
	for i := 0; i < len(arguments); i++ {
		key := arguments[i]
		if key == "--key-update" {
			o.keyUpdate = true
			continue
		}
		if key == "--retry-425" {
			o.retry425 = true
			continue
		}
		i++
		if i == len(arguments) {
			die(key + " needs a value")
		}
		value := arguments[i]
		switch key {
		case "--connect":
			o.connect[0] = value
		case "--name":
			o.name[0] = value
		case "--second-connect":
			o.connect[1] = value
		case "--second-name":
			o.name[1] = value
		case "--ca":
			o.ca = value
		case "--mode":
			o.mode = value
		case "--version":
			o.version = value
		case "--alpn":
			o.alpn = list(value)
		case "--groups":
			o.groups = list(value)
		case "--suites":
			o.suites = list(value)
		case "--signatures":
			o.signatures = value
		case "--status":
			o.status = value
		case "--method":
			o.method = value
		case "--path":
			o.path = value
		case "--header":
			o.header = append(o.header, value)
		case "--header-bytes":
			o.headerBytes = number(value)
		case "--body-bytes":
			o.bodyBytes = number(value)
		case "--requests":
			o.requests = number(value)
		case "--end":
			o.end = value
		case "--timeout":
			o.timeout, _ = strconv.ParseFloat(value, 64)
		case "--hold-finished":
		default:
			die("no such argument: " + key)
		}
	}
	for i, first := range []*[2]string{&o.connect, &o.name} {
		if first[0] == "" {
			die([]string{"--connect", "--name"}[i] + " is required")
		}
		if first[1] == "" {
			first[1] = first[0]
		}
	}
	return o
}

func die(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

func unsupported(why string) {
	line, _ := json.Marshal(map[string]string{"unsupported": why})
	fmt.Println(string(line))
	os.Exit(127)
}

// One session, whatever the name: the caller says where it is offered.
type sessions struct {
	offer bool
	kept  *tls.ClientSessionState
	count int
}

func (s *sessions) Get(string) (*tls.ClientSessionState, bool) {
	return s.kept, s.offer && s.kept != nil
}

func (s *sessions) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		s.kept = state
		s.count++
	}
}

// Counts the ClientHellos that leave, and sees how the stream ends.
type wire struct {
	net.Conn
	hellos int
	ended  error
}

func (w *wire) Write(bytes []byte) (int, error) {
	if len(bytes) > 5 && bytes[0] == 22 && bytes[5] == 1 {
		w.hellos++
	}
	return w.Conn.Write(bytes)
}

func (w *wire) Read(bytes []byte) (int, error) {
	n, err := w.Conn.Read(bytes)
	if err != nil {
		w.ended = err
	}
	return n, err
}

// crypto/tls hands the response out; the library beside it verifies it.
func staple(state tls.ConnectionState, chain []*x509.Certificate) string {
	if len(state.OCSPResponse) == 0 {
		return "none"
	}
	response, err := ocsp.ParseResponseForCert(state.OCSPResponse, chain[0], chain[1])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "staple:", err)
		return "malformed"
	case time.Now().After(response.NextUpdate):
		return "expired"
	}
	return map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked"}[response.Status]
}

func (o *options) config(name string, cache *sessions, c *connection) *tls.Config {
	pem, err := os.ReadFile(o.ca)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		die(o.ca + ": no authority in it")
	}
	version := uint16(tls.VersionTLS13)
	if o.version == "1.2" {
		version = tls.VersionTLS12
	}
	config := &tls.Config{RootCAs: pool, ServerName: name, NextProtos: o.alpn, MinVersion: version, MaxVersion: version, ClientSessionCache: cache}
	for _, group := range o.groups {
		config.CurvePreferences = append(config.CurvePreferences, groups[group])
	}
	if name == "-" {
		config.ServerName = ""
		config.InsecureSkipVerify = true // of the name; the chain is verified here
		config.VerifyConnection = func(state tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, certificate := range state.PeerCertificates[1:] {
				between.AddCert(certificate)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
			return err
		}
	} else {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if state.DidResume {
				return nil
			}
			c.Staple = text(staple(state, state.VerifiedChains[0]))
			if o.status == "yes" && *c.Staple != "good" {
				return errors.New("the staple: " + *c.Staple)
			}
			return nil
		}
	}
	return config
}

func (o *options) write(to io.Writer, host string, first, last bool) (int64, error) {
	method, path, body := o.method, o.path, o.bodyBytes
	if first {
		method, path, body = "GET", "/", 0
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	if !first {
		for _, field := range o.header {
			fmt.Fprintf(&head, "%s\r\n", field)
		}
		if o.headerBytes > 0 {
			fmt.Fprintf(&head, "X-Padding: %s\r\n", strings.Repeat("p", o.headerBytes))
		}
	}
	if body > 0 {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", body)
	}
	if last {
		head.WriteString("Connection: close\r\n")
	}
	head.WriteString("\r\n")
	head.Write(bytes.Repeat([]byte("x"), body))
	_, err := to.Write(head.Bytes())
	return int64(body), err
}

func text(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func (c *connection) describe(state tls.ConnectionState) {
	c.Version = text(map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[state.Version])
	c.Resumed = &state.DidResume
	c.Suite = text(tls.CipherSuiteName(state.CipherSuite))
	c.ALPN = text(state.NegotiatedProtocol)
	c.Group = group(state)
	if len(state.PeerCertificates) > 0 && !state.DidResume {
		switch state.PeerCertificates[0].PublicKey.(type) {
		case *ecdsa.PublicKey:
			c.Certificate = text("ecdsa")
		case *rsa.PublicKey:
			c.Certificate = text("rsa")
		case ed25519.PublicKey:
			c.Certificate = text("ed25519")
		}
	}
}

// Exported as CurveID from 1.25 on; 1.24 has it for its own tests.
func group(state tls.ConnectionState) *string {
	for _, name := range []string{"CurveID", "testingOnlyCurveID"} {
		if field := reflect.ValueOf(state).FieldByName(name); field.IsValid() {
			for name, id := range groups {
				if uint64(id) == field.Uint() {
					return text(name)
				}
			}
		}
	}
	return nil
}

// How it ended, as the stack and the stream say it.
func ending(err error, w *wire) string {
	var alert tls.AlertError
	var remote *net.OpError
	switch {
	case errors.As(err, &alert):
		return "alert:" + strings.ReplaceAll(strings.TrimPrefix(alert.Error(), "tls: "), " ", "_")
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "alert:" + alertName(remote.Err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case w != nil && errors.Is(w.ended, io.EOF):
		return "eof"
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return "close_notify"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED):
		return "reset"
	}
	return "local"
}

// crypto/tls names alerts in words of its own.
func alertName(words string) string {
	words = strings.TrimPrefix(words, "tls: ")
	names := map[string]string{"protocol version not supported": "protocol_version", "no application protocol": "no_application_protocol", "handshake failure": "handshake_failure",
		"unrecognized name": "unrecognized_name", "missing extension": "missing_extension", "unexpected message": "unexpected_message", "internal error": "internal_error",
		"illegal parameter": "illegal_parameter", "error decoding message": "decode_error", "error decrypting message": "decrypt_error", "bad record MAC": "bad_record_mac", "bad certificate status response": "bad_certificate_status_response"}
	if name, ok := names[words]; ok {
		return name
	}
	return strings.ReplaceAll(words, " ", "_")
}

func (o *options) run(index int, cache *sessions, deadline time.Time) (c *connection, ok bool) {
	c = &connection{Early: "none", Responses: []response{}}
	first := index == 0 && o.mode != "full"
	name, where := o.name[index], o.connect[index]
	cache.offer = index == 1
	cache.count = 0
	var w *wire
	failed := func(what string, err error) (*connection, bool) {
		c.Error = text(what + ": " + err.Error())
		c.Ended = text(ending(err, w))
		return c, false
	}
	raw, err := net.DialTimeout("tcp", where, time.Until(deadline))
	if err != nil {
		return failed("connect", err)
	}
	defer raw.Close()
	raw.SetDeadline(deadline)
	w = &wire{Conn: raw}
	conn := tls.Client(w, o.config(name, cache, c))
	err = conn.Handshake()
	c.HRR = w.hellos > 1
	if err != nil {
		return failed("handshake", err)
	}
	c.Handshake = true
	defer func() {
		c.describe(conn.ConnectionState())
		if c.Version != nil && *c.Version == "1.3" {
			c.Tickets = &cache.count
		}
	}()
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		conn.Close()
		c.Ended = text("local")
		return c, true
	}
	host := name
	if name == "-" {
		host = where
	}
	reader := bufio.NewReaderSize(conn, 65536)
	count := o.requests
	if first {
		count = 1
	}
	before := false
	for i := 0; i < count; i++ {
		sent, err := o.write(conn, host, first, i == count-1 && (first || o.end == "close"))
		if err == nil {
			c.Sent += sent
		}
		method := o.method
		if first {
			method = "GET"
		}
		answer, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			return failed("answer", err)
		}
		n, err := io.Copy(io.Discard, answer.Body)
		c.Responses = append(c.Responses, response{answer.StatusCode, n, &before})
		if err != nil {
			return failed("answer", err)
		}
	}
	_, err = io.Copy(io.Discard, reader)
	c.Ended = text("close_notify")
	if err != nil {
		c.Ended = text(ending(err, w))
	} else if w.ended != nil { // crypto/tls reads on to the stream's end only where no close_notify came
		c.Ended = text("eof")
	}
	return c, *c.Ended != "timeout"
}

func main() {
	o := parse(os.Args[1:])
	switch {
	case o.mode == "early":
		unsupported("crypto/tls has no early data over TCP")
	case o.suites != nil:
		unsupported("crypto/tls does not let its user choose the suites of TLS 1.3")
	case o.signatures != "":
		unsupported("crypto/tls does not let its user choose signature algorithms")
	case o.status == "no":
		unsupported("crypto/tls always asks for a staple")
	case o.keyUpdate:
		unsupported("crypto/tls cannot start a key update")
	}
	for i := 1; i < len(o.groups); i++ {
		if slices.Index(order, o.groups[i-1]) > slices.Index(order, o.groups[i]) {
			unsupported("crypto/tls orders the groups itself: " + strings.Join(order, ", "))
		}
	}
	deadline := time.Now().Add(time.Duration(o.timeout * float64(time.Second)))
	cache := &sessions{}
	connections := []*connection{}
	ok := true
	indices := []int{0}
	if o.mode != "full" {
		indices = []int{0, 1}
	}
	for _, index := range indices {
		var c *connection
		c, ok = o.run(index, cache, deadline)
		connections = append(connections, c)
		if !ok {
			break
		}
		if index == 0 && o.mode != "full" && cache.kept == nil {
			c.Error = text("no ticket came")
			ok = false
			break
		}
	}
	line, _ := json.Marshal(map[string]any{"stack": "Go crypto/tls " + strings.TrimPrefix(runtime.Version(), "go"), "connections": connections})
	fmt.Println(string(line))
	if !ok {
		os.Exit(1)
	}
}
