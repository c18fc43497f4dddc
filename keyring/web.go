package keyring

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"postern/internal/web"
	"postern/pgp"
)

// Web fetches keys over HTTPS. It is a pgp.Fetcher. The zero Web is ready, and connects
// to public addresses alone.
type Web struct{ web.Client }

// maxRedirects is how many redirects of a server to itself are followed.
const maxRedirects = 3

// Fetch returns what is at url.
func (w *Web) Fetch(ctx context.Context, url string) ([]byte, error) {
	client := w.Client
	client.Redirects = maxRedirects
	answer, err := client.Get(ctx, url)
	_, final := errors.AsType[*web.FinalError](err)
	switch code := answer.Status; {
	case errors.Is(err, web.ErrNoHost):
		return nil, fmt.Errorf("fetch key: %w", pgp.ErrNoHost)
	case final:
		return nil, fmt.Errorf("fetch key: %w (%w)", pgp.ErrNoFile, err)
	case err != nil:
		return nil, fmt.Errorf("fetch key: %w", err)
	case code == http.StatusOK:
		return answer.Body, nil
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return nil, fmt.Errorf("fetch key: it answered %d", code)
	default:
		return nil, fmt.Errorf("fetch key: %w (it answered %d)", pgp.ErrNoFile, code)
	}
}
