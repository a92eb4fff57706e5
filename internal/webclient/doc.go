// Package webclient fetches a resource from a server that nobody vouches for, named by a text that nobody vouches for either: an
// agent may have been talked into either of them.
//
// Who should not use it: whoever calls a service of Halfkey's own (package rpc), and every service: fetching what somebody names
// is the agent's to do, on the agent's machine. This package knows how to carry a payment and nothing of what is in it.
//
// # Promises
//
//   - The address that is dialled is checked when it is dialled, whatever name led there: a loopback, private, link-local,
//     translated or otherwise special one is refused unless Policy opens loopback or private networks. An address of a cloud's
//     metadata service is refused always. Proxies named by the environment are not used: they would dial instead, and no
//     address would be checked.
//   - HTTPS, with certificates verified, TLS 1.2 or later. Plain HTTP goes to loopback only, and only where that is open.
//   - A payment is in the request that Pay sends, over a connection of its own, and in no other. That request is never redirected,
//     and never sent again once the server may have looked at it; where a server of HTTP/2 says that it has not, net/http asks the
//     same host once more.
//   - An unpaid request follows redirects within its origin, five at most, and only where method and body stay as they are.
//   - One spelling of a URL. What several programs read differently is refused: a user in it, a host that is not ASCII, an address
//     in octal, hexadecimal or one number, a path with dot segments.
//   - What comes back is bounded: the header in bytes and fields, the body in bytes, every wait in time. It is streamed and not
//     unpacked: what says that it is gzip stays so. No cookie is kept, and no page is named as the one that led here.
//   - Errors are *Error, in plain words. What in them comes from the server is quoted and escaped.
package webclient
