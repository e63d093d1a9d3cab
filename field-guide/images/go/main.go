// A server whose /slow takes 2 s. With an argument it waits for running requests when it is told to stop.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(2 * time.Second)
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{Addr: ":8000"}
	fmt.Println("ready,", runtime.Version())
	if len(os.Args) < 2 {
		server.ListenAndServe()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go server.ListenAndServe()
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	server.Shutdown(limit)
}
