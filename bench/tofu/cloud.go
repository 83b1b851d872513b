package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
)

const token = "token-of-the-benchmark"

// cloud is a fake cloud in a process of its own.
type cloud struct {
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startCloud(ctx context.Context, program string) (*cloud, error) {
	cmd := exec.CommandContext(ctx, program, "-stdin", "-token", token)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the fake cloud (make tofu builds it): %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start the fake cloud: %w", err)
	}
	return &cloud{url: strings.TrimSpace(line), cmd: cmd, stdin: stdin}, nil
}

func (c *cloud) stop() {
	_ = c.stdin.Close()
	_ = c.cmd.Wait()
}

func (c *cloud) call(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, said)
	}
	if answer == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(said))
	decoder.UseNumber()
	return decoder.Decode(answer)
}
