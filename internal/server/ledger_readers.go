package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/ledger"
)

const (
	// ledgersResource is what the right to read the ledger is a right to "get": there
	// are no objects of it.
	ledgersResource = "ledgers"
	// allowedFor and refusedFor are how long what the API server has said of a token is
	// taken for still true.
	allowedFor = 10 * time.Second
	refusedFor = 3 * time.Second
	// mostTokens bounds how many tokens are remembered, mostReviews how many are asked
	// about at once.
	mostTokens  = 1024
	mostReviews = 8
	reviewTime  = 10 * time.Second
	// givingTime is how long a reader may take for a file.
	givingTime = time.Minute
)

// readers gives the ledger's files to those who may read it, by the API server's
// word: it knows whose a token is, and what they may.
type readers struct {
	server *Server
	log    *slog.Logger
	config *rest.Config
	known  *cache.LRUExpireCache
	slots  chan struct{}
}

func newReaders(s *Server) *readers {
	return &readers{
		server: s, log: s.Log, config: s.counted(),
		known: cache.NewLRUExpireCache(mostTokens), slots: make(chan struct{}, mostReviews),
	}
}

// verdict is what the API server says of a token.
type verdict struct {
	code int // 200, or the answer
	text string
}

// ServeHTTP gives a file. Ranges are not given: files are small, and never change
// while they are read.
func (l *readers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v := l.judge(r.Context(), bearer(r)); v.code != http.StatusOK {
		if v.code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="plumb"`)
		}
		answer(w, v.code, v.text)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(givingTime))
	s := l.server
	if s.Ledger.Off {
		answer(w, http.StatusNotFound, "this server keeps no ledger: it runs with --ledger=off")
		return
	}
	if s.leading.Load() == nil {
		answer(w, http.StatusServiceUnavailable, s.elsewhere())
		return
	}
	file, err := ledger.ReadPublic(s.Ledger.Dir, r.PathValue("place"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		answer(w, http.StatusNotFound, "the ledger has nothing there (yet)")
		return
	case err != nil:
		l.log.Warn("the ledger is not given to a reader", "error", err)
		answer(w, http.StatusInternalServerError, "the ledger can't be read: the server's log says why")
		return
	}
	give(w, r, file)
}

// give answers with a file, or with that the reader has it.
func give(w http.ResponseWriter, r *http.Request, file ledger.Public) {
	sum := sha256.Sum256(file.Content)
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Vary", "Authorization")
	h.Set("Cache-Control", "private, no-cache")
	if file.Lasting {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(file.Content)
}

// elsewhere says who has the ledger if this server does not lead.
func (s *Server) elsewhere() string {
	if leader := s.leader.Load(); leader != nil && *leader != "" {
		return fmt.Sprintf("this server stands by: %s leads, and has the ledger", *leader)
	}
	return "this server does not lead, and so does not have the ledger: ask again in a moment"
}

// bearer is the token of a request, or nothing.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// judge tells whether the owner of a token may read the ledger.
func (l *readers) judge(ctx context.Context, token string) verdict {
	if token == "" {
		return verdict{http.StatusUnauthorized, "the ledger is for those who may read it: send a token that the API server accepts (Authorization: Bearer TOKEN)"}
	}
	key := sha256.Sum256([]byte(token))
	if known, ok := l.known.Get(key); ok {
		return known.(verdict) //nolint:forcetypeassert // nothing else is in it
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return verdict{http.StatusServiceUnavailable, "too many ask at once: ask again in a moment"}
	}
	defer func() { <-l.slots }()
	if known, ok := l.known.Get(key); ok { // somebody has asked meanwhile
		return known.(verdict) //nolint:forcetypeassert // nothing else is in it
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	v, err := l.review(ctx, token)
	if err != nil {
		l.log.Warn("who asks for the ledger is not known: the API server does not tell", "error", err)
		text := "the API server does not tell whose token this is: ask again in a moment"
		if apierrors.IsForbidden(err) {
			text = "Plumb may not ask the API server whose token this is: its identity needs the ClusterRole system:auth-delegator"
		}
		return verdict{http.StatusServiceUnavailable, text}
	}
	lasts := refusedFor
	if v.code == http.StatusOK {
		lasts = allowedFor
	}
	l.known.Add(key, v, lasts)
	return v
}

// review asks the API server.
func (l *readers) review(ctx context.Context, token string) (verdict, error) {
	authentication, err := authenticationclient.NewForConfig(l.config)
	if err != nil {
		return verdict{}, fmt.Errorf("make a client for reviews of tokens: %w", err)
	}
	authorization, err := authorizationclient.NewForConfig(l.config)
	if err != nil {
		return verdict{}, fmt.Errorf("make a client for reviews of rights: %w", err)
	}
	who, err := authentication.TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("ask whose a token is: %w", err)
	}
	user := who.Status.User
	if !who.Status.Authenticated || user.Username == "" {
		return verdict{http.StatusUnauthorized, "the API server does not accept this token: it may have expired"}, nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	may, err := authorization.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: v1alpha1.Group, Resource: ledgersResource, Verb: "get"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("ask what a user may: %w", err)
	}
	if !may.Status.Allowed || may.Status.Denied {
		return verdict{http.StatusForbidden, fmt.Sprintf("%s may not read the ledger: it takes the verb get on %s.%s in the whole cluster, as by a ClusterRoleBinding of plumb-auditor", user.Username, ledgersResource, v1alpha1.Group)}, nil
	}
	return verdict{code: http.StatusOK}, nil
}
