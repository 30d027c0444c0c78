// net/http over crypto/tls, which has no early data over TCP.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
)

// Exported as CurveID from 1.25 on; 1.24 has it for its own tests.
func group(state tls.ConnectionState) string {
	for _, name := range []string{"CurveID", "testingOnlyCurveID"} {
		if field := reflect.ValueOf(state).FieldByName(name); field.IsValid() {
			return tls.CurveID(field.Uint()).String()
		}
	}
	return ""
}

func main() {
	port := flag.Int("port", 0, "")
	chain := flag.String("chain", "", "")
	key := flag.String("key", "", "")
	early := flag.Bool("early", false, "")
	refuse := flag.Bool("refuse-early", false, "")
	update := flag.Bool("key-update", false, "")
	flag.String("origin", "", "") // it answers by itself
	list := flag.String("groups", "", "")
	flag.Parse()
	if *update {
		fmt.Println(`{"unsupported": "crypto/tls never starts a key update"}`)
		os.Exit(127)
	}
	if *early || *refuse {
		fmt.Println(`{"unsupported": "crypto/tls has no early data over TCP"}`)
		os.Exit(127)
	}
	config := &tls.Config{}
	groups := map[string]tls.CurveID{"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521, "X25519MLKEM768": tls.X25519MLKEM768}
	if *list != "" {
		for _, name := range strings.Split(*list, ",") {
			config.CurvePreferences = append(config.CurvePreferences, groups[name])
		}
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received, _ := io.Copy(io.Discard, r.Body)
		how := "full"
		if r.TLS.DidResume {
			how = "resumed"
		}
		body := fmt.Sprintf("%s %s %s %s group=%s\n", r.Proto, tls.VersionName(r.TLS.Version), tls.CipherSuiteName(r.TLS.CipherSuite), how, group(*r.TLS))
		answer := []byte(body)
		if r.URL.Path == "/large" {
			answer = make([]byte, 10_000_000)
			w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		}
		sent, _ := w.Write(answer)
		log.Printf("%s received=%d sent=%d", strings.TrimSpace(body), received, sent)
	})}
	fmt.Println("ready")
	log.Fatal(server.ServeTLS(listener, *chain, *key))
}
