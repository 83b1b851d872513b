package secrets

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/getsops/sops/v3/keyservice"

	"github.com/plumb-dev/plumb/internal/render"
)

// azure is a service principal.
type azure struct {
	tenant, client, secret string
	// transport replaces the network, in tests.
	transport policy.Transporter

	mu         sync.Mutex
	credential azcore.TokenCredential
}

// azureVault matches the addresses of key vaults: to no other host goes a
// request of a file's.
var azureVault = regexp.MustCompile(`^[a-zA-Z0-9-]{1,127}\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)$`)

// options name the cloud, which would be looked for in the environment otherwise.
func (a *azure) options(host string) (azcore.ClientOptions, error) {
	o := azcore.ClientOptions{Cloud: cloud.AzurePublic, Transport: a.transport}
	switch {
	case strings.HasSuffix(host, ".azure.cn"):
		o.Cloud = cloud.AzureChina
	case strings.HasSuffix(host, ".usgovcloudapi.net"):
		o.Cloud = cloud.AzureGovernment
	}
	if o.Transport == nil {
		client, err := newClient("")
		if err != nil {
			return o, err
		}
		o.Transport = client
	}
	return o, nil
}

func (a *azure) token(o azcore.ClientOptions) (azcore.TokenCredential, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.credential != nil {
		return a.credential, nil
	}
	c, err := azidentity.NewClientSecretCredential(a.tenant, a.client, a.secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: o, DisableInstanceDiscovery: true,
	})
	if err != nil {
		return nil, fmt.Errorf("the service principal (%s, %s, %s) is not one", keyAzureTenant, keyAzureClient, keyAzureSecret)
	}
	a.credential = c
	return c, nil
}

// connect gives what is needed to talk to a key vault.
func (a *azure) connect(host string) (azcore.ClientOptions, azcore.TokenCredential, error) {
	if !azureVault.MatchString(host) {
		return azcore.ClientOptions{}, nil, fmt.Errorf("%s is no host of an Azure Key Vault (NAME.vault.azure.net)", host)
	}
	o, err := a.options(host)
	if err != nil {
		return o, nil, err
	}
	c, err := a.token(o)
	return o, c, err
}

// azureError keeps what Azure has said: its errors print whole answers.
func azureError(err error) error {
	var said *azcore.ResponseError
	if errors.As(err, &said) {
		return fmt.Errorf("%d %s", said.StatusCode, said.ErrorCode)
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) {
		return errors.New("the service principal is not accepted: is its secret still valid?")
	}
	return err
}

// openAzure decrypts a data key with Key Vault.
func (k *Keys) openAzure(ctx context.Context, key *keyservice.AzureKeyVaultKey, enc []byte) ([]byte, error) {
	if len(k.azure) == 0 {
		return nil, errNotOurs
	}
	u, err := url.Parse(key.VaultUrl)
	if err != nil || u.Scheme != "https" {
		return nil, errors.New("is not at a https address")
	}
	blob, err := base64.RawURLEncoding.DecodeString(string(enc))
	if err != nil {
		return nil, errors.New("the encrypted key in the file is no base64")
	}
	var failed error
	for _, a := range k.azure {
		o, token, err := a.connect(u.Host)
		if err != nil {
			return nil, err
		}
		client, err := azkeys.NewClient("https://"+u.Host, token, &azkeys.ClientOptions{ClientOptions: o})
		if err != nil {
			return nil, fmt.Errorf("make a client of the key vault: %w", err)
		}
		out, err := client.Decrypt(ctx, key.Name, key.Version, azkeys.KeyOperationParameters{
			Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: blob,
		}, nil)
		if err == nil {
			return out.Result, nil
		}
		failed = azureError(err)
	}
	return nil, failed
}

func (o *opener) azureSecrets(ctx context.Context, r reference) (source, error) {
	if err := r.only(nil); err != nil {
		return source{}, err
	}
	if len(o.keys.azure) == 0 {
		return source{}, fmt.Errorf("project %s has none for Azure: %w", o.keys.project, render.ErrNoCredentials)
	}
	a := o.keys.azure[0]
	text := func(path string) (string, error) {
		parts := strings.Split(strings.Trim(path, "/"), "/")
		if len(parts) < 2 || len(parts) > 3 {
			return "", errors.New("write ref+azurekeyvault://VAULT/SECRET or ref+azurekeyvault://VAULT/SECRET/VERSION")
		}
		host, version := parts[0], ""
		if !strings.Contains(host, ".") {
			host += ".vault.azure.net"
		}
		if len(parts) == 3 {
			version = parts[2]
		}
		options, token, err := a.connect(host)
		if err != nil {
			return "", err
		}
		client, err := azsecrets.NewClient("https://"+host, token, &azsecrets.ClientOptions{ClientOptions: options})
		if err != nil {
			return "", fmt.Errorf("make a client of the key vault: %w", err)
		}
		out, err := client.GetSecret(ctx, parts[1], version, nil)
		if err != nil {
			return "", fmt.Errorf("azure Key Vault %s: secret %s: %w", host, parts[1], azureError(err))
		}
		if out.Value == nil {
			return "", fmt.Errorf("azure Key Vault %s: secret %s has no value", host, parts[1])
		}
		return *out.Value, nil
	}
	return source{text: text, mapped: asMap(text)}, nil
}
