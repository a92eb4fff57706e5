// Package openapi holds the OpenAPI 2.0 description of the gateway's HTTP interface. make generate writes it from
// proto/halfkey/gateway and gateway/httpjson/routes.yaml; the gateway serves it at /v1/openapi.json.
package openapi

import _ "embed"

// JSON is the description.
//
//go:embed halfkey.swagger.json
var JSON []byte
