// Command realserver is a real server of the lab: a page over HTTP that names it, the checked stream over TCP, and echo over
// UDP (see package stream), on IPv4 and IPv6.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/stream"
)

func main() {
	name := flag.String("name", "rs", "this server's `name`, in every answer")
	page := flag.String("http", ":80", "`address` of HTTP")
	frames := flag.String("stream", ":7000", "`address` of the checked stream (TCP)")
	echo := flag.String("echo", ":7001", "`address` of echo (UDP)")
	flag.Parse()
	if err := serve(*name, *page, *frames, *echo); err != nil {
		fmt.Fprintln(os.Stderr, "realserver:", err)
		os.Exit(1)
	}
}

func serve(name, page, frames, echo string) error {
	tcp, err := net.Listen("tcp", frames)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", echo)
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", page)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 3)
	go func() { failed <- acceptStreams(tcp) }()
	go func() { failed <- echoDatagrams(udp.(*net.UDPConn), name) }()
	go func() {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s sees %s\n", name, r.RemoteAddr)
		})
		s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
		failed <- s.Serve(web)
	}()
	return <-failed
}

func acceptStreams(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go answer(c)
	}
}

// answer replies to each good frame with the server's frame of the same number and length. On a bad one it resets the
// connection: the client must not take the end for a clean one.
func answer(c net.Conn) {
	defer c.Close()
	r := stream.NewReader(c, stream.FromClient, 0, false)
	var out []byte
	for {
		conn, seq, n, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				log.Printf("stream of %v: %v", c.RemoteAddr(), err)
				if err := c.(*net.TCPConn).SetLinger(0); err != nil {
					log.Printf("stream of %v ends without a reset: %v", c.RemoteAddr(), err)
				}
			}
			return
		}
		out = stream.Append(out[:0], stream.FromServer, conn, seq, n)
		if _, err := c.Write(out); err != nil {
			log.Printf("stream of %v: %v", c.RemoteAddr(), err)
			return
		}
	}
}

func echoDatagrams(c *net.UDPConn, name string) error {
	in, out := make([]byte, 2048), []byte(nil)
	for {
		n, from, err := c.ReadFromUDPAddrPort(in)
		if err != nil {
			return err
		}
		conn, seq, err := stream.ParseAsk(in[:n])
		if err != nil {
			continue // not ours
		}
		seen := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		out = stream.AppendEcho(out[:0], stream.Echo{Conn: conn, Seq: seq, Seen: seen, Server: name})
		if _, err := c.WriteToUDPAddrPort(out, from); err != nil {
			log.Printf("echo to %v: %v", from, err)
		}
	}
}
