//go:build wasip1

// Package fetch lets [net/http] send requests in a processor:
//
//	import _ "toril/fetch"
//
// It sets [http.DefaultTransport]. A client with a transport of its own needs [Transport]. The operator grants hosts in `grants.http`.
// Toril resolves names, verifies certificates, and limits how long connecting may take.
package fetch

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unsafe"

	"toril/internal/host"
)

// Transport sends requests through the host. Requests of several goroutines run side by side.
var Transport http.RoundTripper = transport{}

func init() { http.DefaultTransport = Transport }

type transport struct{}

// Error says why a request has no response: a code of `wasi:http`, such as `connection-refused`. If the operator did not grant the
// host of the request, the code is `internal-error`, and the message has the line to add.
type Error struct {
	Code string
	// Detail is what the host says of it, if it says more.
	Detail string
}

func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Code
}

// The cases of `method` in `wasi:http`; any other method is given as text.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// What belongs to the connection, which is the host's.
var ofConnection = []string{"Connection", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// RoundTrip implements [http.RoundTripper].
func (transport) RoundTrip(request *http.Request) (*http.Response, error) {
	body := request.Body
	if body == nil {
		body = http.NoBody
	}
	defer body.Close()
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	outgoing, err := newRequest(request)
	if err != nil {
		return nil, err
	}
	sink := handle(host.RequestBody, outgoing)
	future, err := send(outgoing)
	if err != nil {
		host.DropOutgoingBody(sink)
		return nil, err
	}
	defer host.DropFuture(future)
	// A server may answer before it has read everything, and read no further: its answer counts.
	sent := upload(request.Context(), sink, body)
	if sent != nil && request.Context().Err() != nil {
		return nil, sent
	}
	response, err := receive(request, future)
	if err != nil && sent != nil {
		return nil, sent
	}
	return response, err
}

func newRequest(request *http.Request) (uint32, error) {
	fields, err := headersOf(request)
	if err != nil {
		return 0, err
	}
	outgoing := host.NewRequest(fields)
	method := request.Method
	if method == "" {
		method = http.MethodGet
	}
	number := slices.Index(methods, method)
	if number < 0 {
		number = len(methods)
	}
	scheme := uint32(0)
	if request.URL.Scheme == "https" {
		scheme = 1
	}
	refused := host.RequestSetMethod(outgoing, uint32(number), method) |
		host.RequestSetScheme(outgoing, true, scheme, "") |
		host.RequestSetAuthority(outgoing, true, request.URL.Host) |
		host.RequestSetPath(outgoing, true, request.URL.RequestURI())
	if refused != 0 || (request.URL.Scheme != "https" && request.URL.Scheme != "http") {
		host.DropRequest(outgoing)
		return 0, fmt.Errorf("request is invalid: %s %s", method, request.URL.Redacted())
	}
	return outgoing, nil
}

func headersOf(request *http.Request) (uint32, error) {
	fields := host.NewFields()
	add := func(name, value string) error {
		answer := host.Ask()
		defer answer.End()
		host.FieldsAppend(fields, name, value, answer.At())
		if answer.Byte(0) != 0 {
			host.DropFields(fields)
			return fmt.Errorf("header is invalid: %s", name)
		}
		return nil
	}
	for name, values := range request.Header {
		if slices.Contains(ofConnection, http.CanonicalHeaderKey(name)) {
			continue
		}
		for _, value := range values {
			if err := add(name, value); err != nil {
				return 0, err
			}
		}
	}
	if request.ContentLength > 0 && request.Header.Get("Content-Length") == "" {
		if err := add("Content-Length", fmt.Sprint(request.ContentLength)); err != nil {
			return 0, err
		}
	}
	return fields, nil
}

// handle reads a `result` of a handle; those that are asked for here cannot fail: each is asked for once.
func handle(call func(of uint32, ret unsafe.Pointer), of uint32) uint32 {
	answer := host.Ask()
	defer answer.End()
	call(of, answer.At())
	if answer.Byte(0) != 0 {
		panic("toril: a body was taken twice")
	}
	return answer.Word(4)
}

func send(outgoing uint32) (uint32, error) {
	answer := host.Ask()
	defer answer.End()
	host.Handle(outgoing, false, 0, answer.At())
	if answer.Byte(0) != 0 {
		return 0, errorAt(answer, 8)
	}
	return answer.Word(8), nil
}

func receive(request *http.Request, future uint32) (*http.Response, error) {
	if err := host.Wait(request.Context(), host.FutureSubscribe(future)); err != nil {
		return nil, err
	}
	answer := host.Ask()
	defer answer.End()
	host.FutureGet(future, answer.At())
	switch {
	case answer.Byte(0) == 0 || answer.Byte(8) != 0:
		panic("toril: a response was taken twice")
	case answer.Byte(16) != 0:
		return nil, errorAt(answer, 24)
	}
	return newResponse(request, answer.Word(24)), nil
}

func newResponse(request *http.Request, incoming uint32) *http.Response {
	status := int(host.ResponseStatus(incoming))
	response := &http.Response{
		Status: strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status))), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: entries(host.ResponseHeaders(incoming)), ContentLength: -1, Request: request,
	}
	var length int64
	if n, _ := fmt.Sscan(response.Header.Get("Content-Length"), &length); n == 1 {
		response.ContentLength = length
	}
	body := handle(host.ResponseConsume, incoming)
	response.Body = &responseBody{request.Context(), handle(host.IncomingBodyStream, body), body, incoming, nil}
	return response
}

func entries(fields uint32) http.Header {
	defer host.DropFields(fields)
	answer := host.Ask()
	defer answer.End()
	host.FieldsEntries(fields, answer.At())
	header := http.Header{}
	for _, pair := range answer.Pairs(0) {
		header.Add(pair[0], strings.Clone(pair[1]))
	}
	return header
}

// errorAt reads an `error-code`.
func errorAt(answer *host.Answer, offset uintptr) error {
	found := &Error{Code: codeAt(answer, offset)}
	if found.Code == internalError {
		detail, _ := answer.Option(offset + 8)
		found.Detail = strings.Clone(detail)
	}
	return found
}

// codeAt reads the name of an `error-code`.
func codeAt(answer *host.Answer, offset uintptr) string {
	if number := int(answer.Byte(offset)); number < len(codes) {
		return codes[number]
	}
	return internalError
}

const internalError = "internal-error"

var codes = strings.Fields(`
	DNS-timeout DNS-error destination-not-found destination-unavailable destination-IP-prohibited destination-IP-unroutable
	connection-refused connection-terminated connection-timeout connection-read-timeout connection-write-timeout
	connection-limit-reached TLS-protocol-error TLS-certificate-error TLS-alert-received HTTP-request-denied
	HTTP-request-length-required HTTP-request-body-size HTTP-request-method-invalid HTTP-request-URI-invalid
	HTTP-request-URI-too-long HTTP-request-header-section-size HTTP-request-header-size HTTP-request-trailer-section-size
	HTTP-request-trailer-size HTTP-response-incomplete HTTP-response-header-section-size HTTP-response-header-size
	HTTP-response-body-size HTTP-response-trailer-section-size HTTP-response-trailer-size HTTP-response-transfer-coding
	HTTP-response-content-coding HTTP-response-timeout HTTP-upgrade-failed HTTP-protocol-error loop-detected
	configuration-error internal-error`)
