package x402

import (
	"encoding/json"
	"errors"
	"slices"
)

// ErrNotX402 is returned for a 402 that asks for a payment in another way.
var ErrNotX402 = errors.New("x402: the answer has neither the header PAYMENT-REQUIRED nor a body of version 1")

// Required is what a server answers instead of the resource: what it wants for it.
type Required struct {
	// Raw is the whole as the server wrote it: the header's JSON in version 2, the body in version 1. ReadRequired reads it again.
	Raw json.RawMessage
	// Version is that of x402, 1 or 2.
	Version int
	// Error is the server's word for why it answers so.
	Error Untrusted
	// Resource is what the server says of the resource, in version 1 of the first offer's.
	Resource Resource
	// Offers are the ways to pay, in the server's order, malformed ones too. There is at least one.
	Offers []Offer
	// Extensions is the JSON object of extensions, as it came; empty if there is none.
	Extensions json.RawMessage
}

// Resource is what a server says of the resource, none of it to be relied upon. The URL is where the client has asked, or
// another that names the same, or a lie: it is for comparing and showing, and is never fetched.
type Resource struct {
	// Raw is the object as it came, in version 2; empty if there is none.
	Raw                                           json.RawMessage
	URL, Description, MIMEType, ServiceName, Icon Untrusted
	Tags                                          []Untrusted
}

const tagsMax = 16

// ParseRequired reads what a server asks by its answer: from the header PAYMENT-REQUIRED (version 2), else from the body (version
// 1). The error is ErrNotX402 if the server asks for nothing by x402, and *Error if it asks in a way that is refused. At most
// BodyMax bytes of the body are needed; a header of net/http's type can be passed as it is.
func ParseRequired(status int, header map[string][]string, body []byte) (*Required, error) {
	if status != statusPayment {
		return nil, ErrNotX402
	}
	text, err := one(header, HeaderRequired)
	if err != nil {
		return nil, err
	}
	if text != "" {
		raw, err := decode(HeaderRequired, text, HeaderMax)
		if err != nil {
			return nil, err
		}
		return readRequired(HeaderRequired, raw, 2)
	}
	if len(body) > BodyMax {
		return nil, refuse("body", "is longer than 64 KiB, and there is no header PAYMENT-REQUIRED")
	}
	if o, ok := asObject(body); !ok || !o.has("x402Version") {
		return nil, ErrNotX402
	}
	if err := checkJSON("body", body); err != nil {
		return nil, err
	}
	return readRequired("body", body, 1)
}

// ReadRequired reads Required.Raw again, for example from where it was kept.
func ReadRequired(version int, raw []byte) (*Required, error) {
	const part = "offer"
	switch {
	case version != 1 && version != 2:
		return nil, refuse(part, "is of no version that is known here")
	case len(raw) > BodyMax:
		return nil, refuse(part, "is too long")
	}
	if err := checkJSON(part, raw); err != nil {
		return nil, err
	}
	return readRequired(part, raw, version)
}

// readRequired reads JSON that was checked.
func readRequired(part string, raw json.RawMessage, version int) (*Required, error) {
	o, ok := asObject(raw)
	if !ok {
		return nil, refuse(part, "is not a JSON object")
	}
	if o.version() != int64(version) {
		return nil, refuse(part, "has an x402Version that does not belong there: 2 stands in the header, 1 in the body")
	}
	list, ok := o.list("accepts")
	switch {
	case !ok:
		return nil, refuse(part, "has an accepts that is not a list")
	case len(list) == 0:
		return nil, refuse(part, "holds no offer")
	case len(list) > OffersMax:
		return nil, refuse(part, "holds more than 64 offers")
	}
	r := &Required{Raw: slices.Clone(raw), Version: version, Error: o.words("error")}
	for _, raw := range list {
		r.Offers = append(r.Offers, readOffer(version, raw))
	}
	if version == 1 {
		first, _ := asObject(list[0])
		r.Resource = Resource{URL: first.words("resource"), Description: first.words("description"), MIMEType: first.words("mimeType")}
		return r, nil
	}
	if o.has("resource") {
		if r.Resource, ok = readResource(o["resource"]); !ok {
			return nil, refuse(part, "has a resource that is not a JSON object")
		}
	}
	if o.has("extensions") {
		r.Extensions = o["extensions"]
		if err := checkExtensions(part, r.Extensions); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func readResource(raw json.RawMessage) (Resource, bool) {
	o, ok := asObject(raw)
	if !ok {
		return Resource{}, false
	}
	r := Resource{
		Raw: raw, URL: o.words("url"), Description: o.words("description"), MIMEType: o.words("mimeType"),
		ServiceName: o.words("serviceName"), Icon: o.words("iconUrl"),
	}
	tags, _ := o.list("tags")
	for _, raw := range tags[:min(len(tags), tagsMax)] {
		if s, ok := asText(raw); ok {
			r.Tags = append(r.Tags, Untrusted(s))
		}
	}
	return r, true
}

func (r *Resource) encode() json.RawMessage {
	if len(r.Raw) > 0 {
		return r.Raw
	}
	if r.URL == "" {
		return nil
	}
	var w writer
	w.words("url", string(r.URL))
	w.words("description", string(r.Description))
	w.words("mimeType", string(r.MIMEType))
	w.words("serviceName", string(r.ServiceName))
	return w.object()
}

// Encode is the value of the header PAYMENT-REQUIRED by which a seller asks. Version must be 2, and the resource have a URL: the
// clients of others demand it. It refuses what ParseRequired would, and an offer with a Problem.
func (r *Required) Encode() (string, error) {
	switch {
	case r.Version != 2:
		return "", refuse(HeaderRequired, "is of version 2")
	case r.Resource.URL == "":
		return "", refuse(HeaderRequired, "names the URL of a resource")
	}
	var w writer
	w.member("x402Version", integer(2))
	w.words("error", string(r.Error))
	w.member("resource", r.Resource.encode())
	var accepts writer
	for i := range r.Offers {
		accepts.element(r.Offers[i].encode())
	}
	w.member("accepts", accepts.list())
	w.member("extensions", r.Extensions)
	raw := w.object()
	if err := checkJSON(HeaderRequired, raw); err != nil {
		return "", err
	}
	back, err := readRequired(HeaderRequired, raw, 2)
	if err != nil {
		return "", err
	}
	for i := range back.Offers {
		if problem := back.Offers[i].Problem; problem != "" {
			return "", refuse(HeaderRequired, "holds an offer that cannot be paid: "+string(problem))
		}
	}
	return encode(HeaderRequired, raw, HeaderMax)
}
