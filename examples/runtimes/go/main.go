// A function in Go, with AWS's own client.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
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

func handler(_ context.Context, event json.RawMessage) (answer, error) {
	count++
	var fields map[string]json.RawMessage
	if json.Unmarshal(event, &fields) == nil {
		switch {
		case fields["fail"] != nil:
			return answer{}, InvalidEvent{"asked to fail"}
		case fields["sleep"] != nil:
			time.Sleep(time.Minute)
		case fields["exit"] != nil:
			os.Exit(3)
		}
	}
	return answer{count, os.Getenv("GREETING"), event}, nil
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
	lambda.Start(handler)
}
