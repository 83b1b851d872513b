package secrets

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// newClient asks key services and stores of secrets. It follows no redirect: a
// token goes to the address that it was given for. ca is PEM, or empty.
func newClient(ca string) (*http.Client, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment, // as for repositories
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	if ca != "" {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("holds no certificate in PEM")
		}
	}
	return &http.Client{
		Transport: t, Timeout: askTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// answerError is an answer that is no success. What the server said is kept for
// those who know that it quotes no secret.
type answerError struct {
	status int
	said   string
}

func (e *answerError) Error() string {
	text := fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

// ask sends a request with a JSON body and reads a JSON answer.
func ask(ctx context.Context, c *http.Client, method, url string, header http.Header, body, into any) error {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("write the request: %w", err)
		}
		send = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, send)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.Do(r)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case answer.StatusCode != http.StatusOK:
		return &answerError{status: answer.StatusCode, said: saidOf(text)}
	case len(text) > maxAnswer:
		return fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(into) != nil {
		return errors.New("the answer is no JSON")
	}
	return nil
}

// saidOf takes the words out of an answer that is an error.
func saidOf(text []byte) string {
	var vaults struct {
		Errors []string `json:"errors"`
	}
	var googles struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	said := ""
	if json.Unmarshal(text, &vaults) == nil && len(vaults.Errors) > 0 {
		said = vaults.Errors[0]
	} else if json.Unmarshal(text, &googles) == nil {
		said = googles.Error.Message
	}
	return said[:min(len(said), 300)]
}
