// A function in Go, with AWS's own client. Handler function.handler answers as a whole,
// function.streams bit by bit.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// InvalidEvent is an error; the type's name becomes errorType.
type InvalidEvent struct{ reason string }

func (e InvalidEvent) Error() string { return e.reason }

type answer struct {
	Count    int             `json:"count"`
	Greeting string          `json:"greeting"`
	Event    json.RawMessage `json:"event"`
}

var count int // stays for the next event

func handler(_ context.Context, event json.RawMessage) (any, error) {
	count++
	asked := asks(event)
	switch {
	case asked["fail"] != nil:
		return nil, InvalidEvent{"asked to fail"}
	case asked["sleep"] != nil:
		time.Sleep(time.Minute)
	case asked["exit"] != nil:
		os.Exit(3)
	case asked["environment"] != nil:
		return environment(), nil
	case asked["layer"] != nil:
		// Layers bring programs in /opt/bin, which is on the PATH.
		said, err := exec.Command("who-in-the-layer").Output()
		return string(said), err
	}
	return answer{count, os.Getenv("GREETING"), event}, nil
}

// streams answers bit by bit: what the client gets as a Reader it sends as it comes.
func streams(_ context.Context, event json.RawMessage) (io.Reader, error) {
	reader, writer := io.Pipe()
	go func() {
		io.WriteString(writer, "first,")
		if asks(event)["fail"] != nil {
			writer.CloseWithError(InvalidEvent{"asked to fail"})
			return
		}
		io.WriteString(writer, "second")
		writer.Close()
	}()
	return reader, nil
}

func asks(event json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(event, &fields) // an event that is no object asks for nothing
	return fields
}

func environment() map[string]string {
	variables := map[string]string{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		variables[name] = value
	}
	return variables
}

// failInit reports why the function cannot start, which the client has no call for.
func failInit(kind, message string) {
	body, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": message})
	url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
	if response, err := http.Post(url, "application/json", bytes.NewReader(body)); err == nil {
		response.Body.Close()
	}
	os.Exit(1)
}

func main() {
	if os.Getenv("FAIL_INIT") != "" {
		failInit("ConfigurationError", "asked to fail at the start")
	}
	if strings.HasSuffix(os.Getenv("_HANDLER"), ".streams") {
		lambda.Start(streams)
	}
	lambda.Start(handler)
}
