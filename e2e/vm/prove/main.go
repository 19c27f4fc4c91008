// Command prove runs in the guest of e2e/vm: it starts dpd on a tap device, plays its control plane and its network, and
// shows where dpd's own steering rules send sync datagrams and everything that resembles them.
//
// It ends with 0 if the sync rules of both families and the catch-all are in hardware, each sync datagram came to the sync thread
// without a worker's help, and nothing else did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// What the guest's dpd.yaml says.
const (
	api      = "127.0.0.1:7947"
	tap      = "tp0"
	syncPort = 7946
	blockID  = 1
)

var (
	sip4, sip6 = netip.MustParseAddr("10.9.0.101"), netip.MustParseAddr("2001:db8:9::101")
	laddr      = "10.9.0.201"
)

func main() {
	dpd := flag.String("dpd", "/bin/dpd", "the `program` to prove")
	config := flag.String("config", "/etc/dpd.yaml", "its configuration `file`")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	if err := run(ctx, *dpd, *config); err != nil {
		fmt.Println("prove:", err)
		os.Exit(1)
	}
	fmt.Println("prove: sync datagrams, and nothing else, reach the sync queue by dpd's own rules in hardware")
}

func run(ctx context.Context, dpd, config string) (err error) {
	cmd := exec.CommandContext(ctx, dpd, "--config", config)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		e := cmd.Wait()
		cancel(errors.New("dpd ended"))
		ended <- e
	}()
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended by itself; that is told below
		if e := <-ended; e != nil {
			err = errors.Join(err, fmt.Errorf("dpd ended badly: %w", e))
		}
	}()
	conn, err := grpc.NewClient(api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := dpdv1.NewDataplaneServiceClient(conn)
	info, err := ready(ctx, client)
	if err != nil {
		return err
	}
	if _, err := client.ApplyMembership(ctx, &dpdv1.ApplyMembershipRequest{Membership: view(info.GetSync().GetSelf())}); err != nil {
		return fmt.Errorf("apply a view: %w", err)
	}
	if info, err = client.GetInfo(ctx, &dpdv1.GetInfoRequest{}); err != nil {
		return err
	}
	if err := inHardware(info); err != nil {
		return err
	}
	mac, err := net.ParseMAC(info.GetPorts()[0].GetMac())
	if err != nil {
		return fmt.Errorf("the data port's address: %w", err)
	}
	return steers(ctx, client, mac)
}

// ready waits until dpd answers and has a life of its own.
func ready(ctx context.Context, client dpdv1.DataplaneServiceClient) (*dpdv1.GetInfoResponse, error) {
	for {
		info, err := client.GetInfo(ctx, &dpdv1.GetInfoRequest{}, grpc.WaitForReady(true))
		if err == nil && info.GetSync().GetSelf().GetIncarnation() > 0 && len(info.GetPorts()) > 0 {
			return info, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("dpd is not ready: %w", errors.Join(err, context.Cause(ctx)))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// view is a cluster of this node alone, as a coordinator would tell it.
func view(self *dpdv1.NodeLife) *dpdv1.Membership {
	return &dpdv1.Membership{
		View: 1,
		Self: &dpdv1.SelfAssignment{Life: self, SipV4: sip4.String(), SipV6: sip6.String(), SyncPort: syncPort, State: dpdv1.MemberState_MEMBER_STATE_ADMITTED},
		Members: []*dpdv1.Member{{
			Life: self, Name: "vm", SipV4: sip4.String(), SipV6: sip6.String(), SyncPort: syncPort, State: dpdv1.MemberState_MEMBER_STATE_ADMITTED,
		}},
		LaddrBlocks: []*dpdv1.LaddrBlock{{Id: blockID, Addresses: []string{laddr}, Holder: self, Epoch: 1, Allocatable: true}},
	}
}

// inHardware prints the rules and wants those that keep sync apart to be the device's.
func inHardware(info *dpdv1.GetInfoResponse) error {
	sync, rest := 0, 0
	for _, r := range info.GetSteeringRules() {
		where := "hardware"
		if !r.GetHardware() {
			where = "software: " + r.GetReason()
		}
		fmt.Printf("prove: %-70s %s\n", r.GetRule(), where)
		switch {
		case !r.GetHardware():
		case strings.HasPrefix(r.GetRule(), "sync "):
			sync++
		case strings.HasPrefix(r.GetRule(), "catch_all "):
			rest++
		}
	}
	if sync != 2 || rest != 1 {
		return fmt.Errorf("%d sync rules and %d catch-all rules are in hardware, want 2 and 1", sync, rest)
	}
	return nil
}
