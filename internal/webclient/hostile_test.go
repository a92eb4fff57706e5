package webclient

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// raw starts a server with TLS on loopback that speaks whatever it wants, after it has read one request's header.
func raw(t *testing.T, policy Policy, speak func(conn net.Conn, request string)) (*Client, string) {
	t.Helper()
	// For its certificate.
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				from := bufio.NewReader(conn)
				var head strings.Builder
				for {
					line, err := from.ReadString('\n')
					if err != nil {
						return
					}
					if head.WriteString(line); line == "\r\n" {
						break
					}
				}
				speak(conn, head.String())
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		conns.Wait()
	})
	policy.AllowLoopback = true
	policy.Roots = x509.NewCertPool()
	policy.Roots.AddCert(s.Certificate())
	c := New(policy)
	t.Cleanup(c.Close)
	return c, "https://" + listener.Addr().String()
}

// drip writes a text for ever, one piece at a time, until the other side has gone. The pace is the server's: it ends nothing.
func drip(conn net.Conn, piece string) {
	for {
		if _, err := io.WriteString(conn, piece); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRedirects(t *testing.T) {
	_, otherURL := serve(t, Policy{}, func(http.ResponseWriter, *http.Request) {})
	var hops atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		hops.Add(1)
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		switch r.URL.Path {
		case "/to":
			w.Header()["Location"] = r.URL.Query()["where"]
			w.WriteHeader(status)
		case "/chain":
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			if n > 0 {
				http.Redirect(w, r, "/chain?n="+strconv.Itoa(n-1), http.StatusFound)
			}
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
		}
	}
	c, server := serve(t, Policy{}, handler)
	origin := strings.TrimPrefix(server, "https://")
	_, port, _ := strings.Cut(origin, ":")
	for _, c2 := range []struct {
		name, method, path, body string
		want                     string // the answer, if it is followed
		refused                  string // why not, otherwise
		asked                    int32
	}{
		{"path", "GET", "/to?status=302&where=/a%3Fb", "", "GET /a?b ", "", 2},
		{"relative path", "GET", "/to?status=301&where=b", "", "GET /b ", "", 2},
		{"whole URL", "GET", "/to?status=307&where=" + server + "/a", "", "GET /a ", "", 2},
		{"host in capitals and a fragment", "GET", "/to?status=308&where=HTTPS://" + origin + "/a%23b", "", "GET /a ", "", 2},
		{"body stays", "POST", "/to?status=307&where=/a", "hello", "POST /a hello", "", 2},
		{"body stays, for ever", "PUT", "/to?status=308&where=/a", "hello", "PUT /a hello", "", 2},
		{"five", "GET", "/chain?n=5", "", "", "", 6},
		{"body lost", "POST", "/to?status=302&where=/a", "hello", "", "without its body", 1},
		{"body lost, by design", "POST", "/to?status=303&where=/a", "hello", "", "without its body", 1},
		{"six", "GET", "/chain?n=6", "", "", "more than five times", 6},
		{"loop", "GET", "/loop", "", "", "more than five times", 6},
		{"no address", "GET", "/to?status=302", "", "", "does not say where", 1},
		{"empty address", "GET", "/to?status=302&where=", "", "", "does not say where", 1},
		{"another port", "GET", "/to?status=302&where=" + otherURL + "/a", "", "", "another origin, " + otherURL, 1},
		{"another host", "GET", "/to?status=307&where=https://evil.example/a", "", "", "another origin, https://evil.example", 1},
		{"another host without scheme", "GET", "/to?status=307&where=//evil.example/a", "", "", "another origin, https://evil.example", 1},
		{"another scheme", "GET", "/to?status=307&where=http://" + origin + "/a", "", "", "another origin, http://127.0.0.1", 1},
		{"a name for the same address", "GET", "/to?status=307&where=https://localhost:" + port + "/", "", "", "another origin", 1},
		{"user", "GET", "/to?status=302&where=https://" + "x:y@" + origin + "/", "", "", "user or a password", 1},
		{"file", "GET", "/to?status=302&where=file:///etc/passwd", "", "", "refused", 1},
		{"escape sequence", "GET", "/to?status=302&where=https://evil%251b[2J/", "", "", "BAD", 1},
		{"dot segments", "GET", "/to?status=302&where=/%252e%252e/admin", "", "", "path", 1},
	} {
		t.Run(c2.name, func(t *testing.T) {
			hops.Store(0)
			r := request(t, c2.method, server+c2.path)
			r.Body = []byte(c2.body)
			resp, err := c.Ask(t.Context(), r)
			if hops.Load() != c2.asked {
				t.Errorf("asked %d times, want %d", hops.Load(), c2.asked)
			}
			if c2.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, _ := io.ReadAll(resp.Body); string(got) != c2.want {
					t.Errorf("got %q, want %q", got, c2.want)
				}
				return
			}
			words := c2.refused
			if words == "BAD" {
				words = ""
			}
			if e := wantError(t, err, BadRedirect, words); !e.Sent {
				t.Error("says that nothing was sent")
			}
		})
	}
}

// A payment goes to the address that asked for it and nowhere else, whatever that answers.
func TestPaymentIsNotRedirected(t *testing.T) {
	var thief, twice atomic.Int32
	_, elsewhere := serve(t, Policy{}, func(http.ResponseWriter, *http.Request) { thief.Add(1) })
	c, server := serve(t, Policy{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stolen" {
			twice.Add(1)
			return
		}
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.Header().Set("Location", r.URL.Query().Get("where"))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "moved")
	})
	for _, where := range []string{elsewhere + "/stolen", "/stolen"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			for _, method := range []string{"GET", "POST"} {
				r := request(t, method, fmt.Sprintf("%s/?status=%d&where=%s", server, status, where))
				resp, err := c.Pay(t.Context(), r, "X-Payment", "AAAA")
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(resp.Body); resp.StatusCode != status || err != nil || (method == "POST" && string(body) != "moved") {
					t.Errorf("%s %d: got %s, %q, %v", method, status, resp.Status, body, err)
				}
				resp.Body.Close()
			}
		}
	}
	if thief.Load() != 0 || twice.Load() != 0 {
		t.Errorf("another origin was asked %d times, another path %d times", thief.Load(), twice.Load())
	}
}

// The payment's header cannot come into any other request, by whatever name and in whatever case.
func TestRequestRefused(t *testing.T) {
	var reached atomic.Int32
	c, server := serve(t, Policy{}, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, c2 := range []struct {
		name   string
		change func(*Request)
		want   string
	}{
		{"payment", func(r *Request) { r.Header = http.Header{"Payment-Signature": {"AAAA"}} }, "carries a payment"},
		{"payment in other capitals", func(r *Request) { r.Header = http.Header{"PAYMENT-signature": {"AAAA"}} }, "carries a payment"},
		{"payment of version 1", func(r *Request) { r.Header = http.Header{"x-payment": {"AAAA"}} }, "carries a payment"},
		{"payment's answer", func(r *Request) { r.Header = http.Header{"X-Payment-Response": {"AAAA"}} }, "carries a payment"},
		{"payment, with a space at the end", func(r *Request) { r.Header = http.Header{"Payment-Signature ": {"AAAA"}} }, "not made of"},
		{"host", func(r *Request) { r.Header = http.Header{"Host": {"evil.example"}} }, "connection's"},
		{"length", func(r *Request) { r.Header = http.Header{"content-length": {"0"}} }, "connection's"},
		{"encoding of the transfer", func(r *Request) { r.Header = http.Header{"Transfer-Encoding": {"chunked"}} }, "connection's"},
		{"connection", func(r *Request) { r.Header = http.Header{"Connection": {"X"}} }, "connection's"},
		{"upgrade", func(r *Request) { r.Header = http.Header{"Upgrade": {"h2c"}} }, "connection's"},
		{"proxy", func(r *Request) { r.Header = http.Header{"Proxy-Authorization": {"x"}} }, "proxy"},
		{"line end in a name", func(r *Request) { r.Header = http.Header{"X\r\nPayment-Signature": {"x"}} }, "not made of"},
		{"colon in a name", func(r *Request) { r.Header = http.Header{"X:": {"x"}} }, "not made of"},
		{"empty name", func(r *Request) { r.Header = http.Header{"": {"x"}} }, "not made of"},
		{"line end in a value", func(r *Request) { r.Header = http.Header{"X-A": {"a\r\nX-Payment: AAAA"}} }, "control character"},
		{"nul in a value", func(r *Request) { r.Header = http.Header{"X-A": {"a\x00"}} }, "control character"},
		{"many headers", func(r *Request) { r.Header = http.Header{"X-A": make([]string, 65)} }, "more than 64"},
		{"long header", func(r *Request) { r.Header = http.Header{"X-A": {strings.Repeat("a", 16<<10)}} }, "more than 64"},
		{"method in small letters", func(r *Request) { r.Method = "get" }, "upper-case"},
		{"method with a line end", func(r *Request) { r.Method = "GET / HTTP/1.1\r\n" }, "upper-case"},
		{"method CONNECT", func(r *Request) { r.Method = "CONNECT" }, "CONNECT"},
		{"method TRACE", func(r *Request) { r.Method = "TRACE" }, "TRACE"},
		{"body too long", func(r *Request) { r.Body = make([]byte, RequestBodyMax+1) }, "4 MiB"},
		{"no URL", func(r *Request) { r.URL = nil }, "no URL"},
	} {
		t.Run(c2.name, func(t *testing.T) {
			r := request(t, "GET", server)
			c2.change(&r)
			_, err := c.Ask(t.Context(), r)
			wantError(t, err, BadRequest, c2.want)
			_, err = c.Pay(t.Context(), r, "PAYMENT-SIGNATURE", "AAAA")
			wantError(t, err, BadRequest, c2.want)
		})
	}
	for _, p := range [][2]string{
		{"Authorization", "AAAA"},
		{"", "AAAA"},
		{"X-Payment-Response", "AAAA"},
		{"X-Payment", ""},
		{"X-Payment", "a\r\nb"},
		{"X-Payment", strings.Repeat("A", paymentMax+1)},
	} {
		_, err := c.Pay(t.Context(), request(t, "GET", server), p[0], p[1])
		wantError(t, err, BadRequest, "payment")
	}
	if reached.Load() != 0 {
		t.Errorf("the server was reached %d times", reached.Load())
	}
}

// A request with a payment leaves once: where the connection breaks, the answer is lost, and it is the caller's to say whether the
// same payment is shown again.
func TestPaymentIsSentOnce(t *testing.T) {
	var paid atomic.Int32
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	c, server := serveWith(t, Policy{}, config, func(w http.ResponseWriter, _ *http.Request) {
		if paid.Add(1) > 1 {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}
	})
	r := request(t, "GET", server)
	for n := range int32(3) {
		resp, err := c.Pay(t.Context(), r, "PAYMENT-SIGNATURE", "AAAA")
		if n == 0 {
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		} else if e := wantError(t, err, Broken, "connection broke"); !e.Sent {
			t.Error("says that the payment was not sent")
		}
		if paid.Load() != n+1 {
			t.Fatalf("the payment was sent %d times in %d calls", paid.Load(), n+1)
		}
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	c := New(Policy{AllowLoopback: true})
	_, err = c.Pay(t.Context(), request(t, "GET", "https://"+listener.Addr().String()), "PAYMENT-SIGNATURE", "AAAA")
	if e := wantError(t, err, Unreachable, "cannot be reached"); e.Sent {
		t.Error("says that the payment was sent")
	}
}

// Every wait ends, whoever makes it long.
func TestSlowServers(t *testing.T) {
	const short, long = 100 * time.Millisecond, time.Minute
	hold := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) } // until the client has gone
	for _, c := range []struct {
		name     string
		timeouts Timeouts
		speak    func(conn net.Conn, request string)
		inBody   bool
	}{
		{"says nothing", Timeouts{Answer: short, PaidAnswer: short}, func(conn net.Conn, _ string) { hold(conn) }, false},
		{"header byte by byte", Timeouts{Answer: short, PaidAnswer: short}, func(conn net.Conn, _ string) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-A: ")
			drip(conn, "a")
		}, false},
		{"no answer but that it goes on", Timeouts{Answer: short, PaidAnswer: short}, func(conn net.Conn, _ string) {
			fmt.Fprint(conn, "HTTP/1.1 103 Early Hints\r\n\r\n")
			hold(conn)
		}, false},
		{"body stops", Timeouts{Stall: short}, func(conn net.Conn, _ string) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
			hold(conn)
		}, true},
		{"body byte by byte", Timeouts{Stall: long, Body: short}, func(conn net.Conn, _ string) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
			drip(conn, "a")
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := raw(t, Policy{Timeouts: c.timeouts}, c.speak)
			// A wait that does not end by itself ends here, and says so in other words.
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			r := request(t, "GET", server)
			calls := map[string]func() (*http.Response, error){
				"asked": func() (*http.Response, error) { return client.Ask(ctx, r) },
				"paid":  func() (*http.Response, error) { return client.Pay(ctx, r, "PAYMENT-SIGNATURE", "AAAA") },
			}
			for name, call := range calls {
				resp, err := call()
				if c.inBody {
					if err != nil {
						t.Fatal(name, err)
					}
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				wantError(t, err, TimedOut, "took too long")
			}
		})
	}
}

func TestHandshakeTimesOut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // nothing is ever accepted: the system does that, and says nothing
	c := New(Policy{AllowLoopback: true, Timeouts: Timeouts{Handshake: 100 * time.Millisecond}})
	_, err = c.Pay(t.Context(), request(t, "GET", "https://"+listener.Addr().String()), "PAYMENT-SIGNATURE", "AAAA")
	if e := wantError(t, err, Unreachable, "cannot be reached"); e.Sent {
		t.Error("says that the payment was sent")
	}
}

// The zero Timeouts are the ones that the documentation says: a paid request waits long enough for a chain.
func TestDefaults(t *testing.T) {
	want := Timeouts{
		Connect: 10 * time.Second, Handshake: 10 * time.Second, Answer: 30 * time.Second, PaidAnswer: 90 * time.Second, Stall: 30 * time.Second,
		Body: 15 * time.Minute,
	}
	if got := New(Policy{}).policy; got.Timeouts != want || got.BodyMax != BodyMaxDefault || got.AllowLoopback || got.AllowPrivate {
		t.Errorf("got %+v", got)
	}
}

func TestCallerGivesUp(t *testing.T) {
	asked := make(chan struct{}, 1)
	c, server := raw(t, Policy{}, func(conn net.Conn, _ string) {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := c.Pay(ctx, request(t, "GET", server), "PAYMENT-SIGNATURE", "AAAA")
	if e := wantError(t, err, Canceled, "given up"); !e.Sent || !errors.Is(e, context.Canceled) {
		t.Errorf("sent %v, %v", e.Sent, errors.Unwrap(e))
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Ask(ctx, request(t, "GET", server))
	if e := wantError(t, err, TimedOut, "no more time"); !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("got %v", errors.Unwrap(e))
	}
}

// What is not an answer is told in words that do nothing to a terminal.
func TestBrokenAnswers(t *testing.T) {
	many := strings.Repeat("X-A: a\r\n", headersMax+1)
	for _, c := range []struct {
		name, answer string
		reason       Reason
		want         string
	}{
		{"nothing", "", Broken, "connection broke"},
		{"another protocol", "SSH-2.0-OpenSSH\r\n\r\n", Broken, "malformed"},
		{"escape sequences", "HTTP/1.1 \x1b[2J\x1b]0;paid\x07 OK\r\n\r\n", Broken, `\x1b`},
		{"escape sequences instead", "\x1b[2Jhalfkey: paid\u202e\r\n\r\n", Broken, "malformed"},
		{"header cut short", "HTTP/1.1 200 OK\r\nX-A: a", Broken, "EOF"},
		{"header without colon", "HTTP/1.1 200 OK\r\nnonsense \x1b[31m\r\n\r\n", Broken, "malformed"},
		{"header without end", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 128<<10), Broken, "exceeded"},
		{"headers without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100), Broken, "exceeded"},
		{"many headers", "HTTP/1.1 200 OK\r\n" + many + "\r\n", HeaderTooLarge, "more than 128"},
		{"many early answers", strings.Repeat("HTTP/1.1 103 Early\r\n\r\n", 1000), Broken, ""},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", Broken, ""},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Broken, ""},
		{"TLS broken off for plain text", "HTTP/0.9", Broken, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := raw(t, Policy{}, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, c.answer) })
			_, err := client.Pay(t.Context(), request(t, "GET", server), "PAYMENT-SIGNATURE", "AAAA")
			if e := wantError(t, err, c.reason, c.want); !e.Sent || len(e.Error()) > 600 {
				t.Errorf("sent %v, %d bytes", e.Sent, len(e.Error()))
			}
		})
	}
}

func TestHeadersOverHTTP2(t *testing.T) {
	c, server := serve(t, Policy{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/many" {
			w.Header()["X-A"] = make([]string, headersMax+1)
		} else {
			w.Header().Set("X-A", strings.Repeat("a", 2*headerBytesMax))
		}
	})
	_, err := c.Ask(t.Context(), request(t, "GET", server+"/many"))
	wantError(t, err, HeaderTooLarge, "more than 128")
	_, err = c.Ask(t.Context(), request(t, "GET", server+"/long"))
	wantError(t, err, Broken, "")
}

// A body comes as it is, as far as is taken; an error tells one that goes on from one that ends there.
func TestBodies(t *testing.T) {
	const most = 1000
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	_, _ = pack.Write(make([]byte, 1<<20))
	pack.Close()
	if packed.Len() > 2*most {
		t.Fatalf("a megabyte packs to %d bytes", packed.Len())
	}
	for _, c := range []struct {
		name, answer string
		want         int
		reason       Reason
	}{
		{"none", "Content-Length: 0\r\n\r\n", 0, ""},
		{"as long as is taken", "Content-Length: 1000\r\n\r\n" + strings.Repeat("a", most), most, ""},
		{"as long as is taken, without length", "\r\n" + strings.Repeat("a", most), most, ""},
		{"one byte longer", "Content-Length: 1001\r\n\r\n" + strings.Repeat("a", most+1), most, BodyTooLarge},
		{"one byte longer, without length", "\r\n" + strings.Repeat("a", most+1), most, BodyTooLarge},
		{
			"one byte longer, in chunks", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", most+1) + "0\r\n\r\n", most,
			BodyTooLarge,
		},
		{"cut short", "Content-Length: 100\r\n\r\nabc", 3, Broken},
		{"cut short in a chunk", "Transfer-Encoding: chunked\r\n\r\nff\r\nabc", 3, Broken},
		{"bad chunk", "Transfer-Encoding: chunked\r\n\r\n\x1b[2J\r\n", 0, Broken},
		{"says that it is packed", "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00", 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := raw(t, Policy{BodyMax: most}, func(conn net.Conn, request string) {
				if strings.Contains(strings.ToLower(request), "accept-encoding") {
					t.Error("asks for a packed body")
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n"+c.answer)
			})
			resp, err := client.Ask(t.Context(), request(t, "GET", server))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if len(got) != c.want {
				t.Errorf("got %d bytes, want %d", len(got), c.want)
			}
			if c.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.reason, "")
			if _, again := resp.Body.Read(make([]byte, 1)); !errors.Is(again, err) {
				t.Errorf("then %v, after %v", again, err)
			}
		})
	}
	c, server := serve(t, Policy{BodyMax: 1 << 20}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	resp, err := c.Ask(t.Context(), request(t, "GET", server))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, packed.Bytes()) {
		t.Errorf("got %d bytes of %d, %v", len(got), packed.Len(), err)
	}
}

// Nothing is left of one answer in the next request.
func TestNoMemory(t *testing.T) {
	var second http.Header
	c, server := serve(t, Policy{}, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "1"})
		w.Header().Set("Alt-Svc", `h3="evil.example:443"`)
		second = r.Header.Clone()
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/next", http.StatusFound)
		}
	})
	resp, err := c.Ask(t.Context(), request(t, "GET", server))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Request.URL.Path; got != "/next" {
		t.Errorf("%s answered", got)
	}
	if second.Get("Cookie") != "" || second.Get("Referer") != "" {
		t.Errorf("the second request has %v", second)
	}
}
