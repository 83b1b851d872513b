package secrets

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/getsops/sops/v3/keyservice"
	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/plumb-dev/plumb/internal/render"
)

// amazon is an access key of AWS. Clients are made of it alone: the library's
// usual configuration would read the environment, the home directory and the
// metadata service of the machine.
type amazon struct {
	id, secret, session    string
	region, role, endpoint string
}

var (
	keyARN = regexp.MustCompile(`^arn:aws[\w-]*:kms:([a-z0-9-]+):\d+:(?:key|alias)/.+$`)
	region = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	anyARN = regexp.MustCompile(`^arn:aws[\w-]*:[a-z0-9-]+:([a-z0-9-]+):`)
)

// config is for one region, as one role (empty: the Secret's, if it has one).
func (a *amazon) config(ctx context.Context, in, role string) (aws.Config, error) {
	if in == "" {
		in = a.region
	}
	if !region.MatchString(in) {
		return aws.Config{}, fmt.Errorf("no region: name it in the reference (?region=…) or in the Secret (%s)", keyAWSRegion)
	}
	client, err := newClient("")
	if err != nil {
		return aws.Config{}, err
	}
	c := aws.Config{
		Region: in, HTTPClient: client, RetryMaxAttempts: 3,
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(a.id, a.secret, a.session)),
	}
	if a.endpoint != "" {
		c.BaseEndpoint = aws.String(a.endpoint)
	}
	for _, r := range []string{a.role, role} {
		if r == "" {
			continue
		}
		out, err := sts.NewFromConfig(c).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(r), RoleSessionName: aws.String("plumb")})
		if err != nil {
			return aws.Config{}, fmt.Errorf("take the role %s: %w", r, awsError(err))
		}
		t := out.Credentials
		c.Credentials = credentials.NewStaticCredentialsProvider(aws.ToString(t.AccessKeyId), aws.ToString(t.SecretAccessKey), aws.ToString(t.SessionToken))
	}
	return c, nil
}

// awsError keeps of an error what AWS has said.
func awsError(err error) error {
	var said smithy.APIError
	if errors.As(err, &said) {
		return fmt.Errorf("%s: %s", said.ErrorCode(), said.ErrorMessage())
	}
	return err
}

// openAWS decrypts a data key with KMS.
func (k *Keys) openAWS(ctx context.Context, key *keyservice.KmsKey, enc []byte) ([]byte, error) {
	if len(k.aws) == 0 {
		return nil, errNotOurs
	}
	arn := keyARN.FindStringSubmatch(key.Arn)
	if arn == nil {
		return nil, errors.New("is no ARN of a key")
	}
	if key.AwsProfile != "" {
		return nil, fmt.Errorf("asks for the AWS profile %s, and Plumb reads none: encrypt the file without aws_profile", key.AwsProfile)
	}
	blob, err := decodeKey(enc)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, a := range k.aws {
		c, err := a.config(ctx, arn[1], key.Role)
		if err != nil {
			failed = err
			continue
		}
		out, err := kms.NewFromConfig(c).Decrypt(ctx, &kms.DecryptInput{
			KeyId: aws.String(key.Arn), CiphertextBlob: blob, EncryptionContext: key.Context,
		})
		if err == nil {
			return out.Plaintext, nil
		}
		failed = awsError(err)
	}
	return nil, failed
}

// awsParameters are what references to AWS may set. A profile is not among
// them: there are none.
var (
	awsSecretsParameters = []string{"region", "role_arn", "version_stage", "version_id"}
	awsSSMParameters     = []string{"region", "role_arn", "version", "mode", "recursive"}
)

func (o *opener) amazon(ctx context.Context, r reference, parameters []string) (aws.Config, error) {
	if err := r.only(parameters); err != nil {
		return aws.Config{}, err
	}
	if len(o.keys.aws) == 0 {
		return aws.Config{}, fmt.Errorf("project %s has none for AWS: %w", o.keys.project, render.ErrNoCredentials)
	}
	in := r.param("region")
	if arn := anyARN.FindStringSubmatch(r.path); in == "" && arn != nil {
		in = arn[1]
	}
	return o.keys.aws[0].config(ctx, in, r.param("role_arn"))
}

func (o *opener) awsSecrets(ctx context.Context, r reference) (source, error) {
	c, err := o.amazon(ctx, r, awsSecretsParameters)
	if err != nil {
		return source{}, err
	}
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	text := func(path string) (string, error) {
		out, err := secretsmanager.NewFromConfig(c).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
			SecretId: aws.String(path), VersionStage: optional(r.param("version_stage")), VersionId: optional(r.param("version_id")),
		})
		if err != nil {
			return "", fmt.Errorf("AWS Secrets Manager in %s: secret %s: %w", c.Region, path, awsError(err))
		}
		if out.SecretString != nil {
			return *out.SecretString, nil
		}
		return string(out.SecretBinary), nil
	}
	return source{text: text, mapped: asMap(text)}, nil
}

func (o *opener) awsSSM(ctx context.Context, r reference) (source, error) {
	c, err := o.amazon(ctx, r, awsSSMParameters)
	if err != nil {
		return source{}, err
	}
	client := ssm.NewFromConfig(c)
	text := func(path string) (string, error) {
		name := rooted(path)
		if v := r.param("version"); v != "" {
			if _, err := strconv.Atoi(v); err != nil {
				return "", fmt.Errorf("version=%s is no number", v)
			}
			name += ":" + v
		}
		out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(true)})
		if err != nil {
			return "", fmt.Errorf("AWS Parameter Store in %s: parameter %s: %w", c.Region, name, awsError(err))
		}
		if out.Parameter == nil || out.Parameter.Value == nil {
			return "", fmt.Errorf("AWS Parameter Store in %s: parameter %s has no value", c.Region, name)
		}
		return *out.Parameter.Value, nil
	}
	s := source{text: text, mapped: asMap(text)}
	if r.param("mode") != "singleparam" {
		s.mapped = func(path string) (map[string]any, error) {
			return parameters(ctx, client, rooted(path), r.param("recursive") == "true")
		}
	}
	return s, nil
}

func rooted(path string) string { return "/" + strings.TrimPrefix(path, "/") }

// parameters reads all parameters below a path, as a map of maps.
func parameters(ctx context.Context, client *ssm.Client, path string, recursive bool) (map[string]any, error) {
	out := map[string]any{}
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{
		Path: aws.String(path), Recursive: aws.Bool(recursive), WithDecryption: aws.Bool(true),
	})
	for n := 0; pages.HasMorePages() && n < 100; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("AWS Parameter Store: parameters below %s: %w", path, awsError(err))
		}
		for _, p := range page.Parameters {
			names := strings.Split(strings.Trim(strings.TrimPrefix(aws.ToString(p.Name), path), "/"), "/")
			at := out
			for _, name := range names[:len(names)-1] {
				next, ok := at[name].(map[string]any)
				if !ok {
					next = map[string]any{}
					at[name] = next
				}
				at = next
			}
			at[names[len(names)-1]] = aws.ToString(p.Value)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("AWS Parameter Store: there are no parameters below %s", path)
	}
	return out, nil
}

// asMap reads a text that is a YAML or JSON map.
func asMap(text func(string) (string, error)) func(string) (map[string]any, error) {
	return func(path string) (map[string]any, error) {
		s, err := text(path)
		if err != nil {
			return nil, err
		}
		if render.CheckAliases(path, []byte(s), maxAnswer) != nil {
			return nil, fmt.Errorf("what %s holds expands to more than %d bytes", path, maxAnswer)
		}
		m := map[string]any{}
		if yamlv3.Unmarshal([]byte(s), &m) != nil {
			return nil, fmt.Errorf("what %s holds is no map in YAML or JSON, and the reference names a key in it", path)
		}
		return m, nil
	}
}
