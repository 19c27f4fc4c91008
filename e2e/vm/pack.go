package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pmds are the DPDK drivers that the guest gets. They are found by name, not through a program's libraries.
var pmds = []string{"librte_bus_vdev.so", "librte_mempool_ring.so", "librte_net_tap.so"}

// start is the guest's first process. The last line tells the host how the script ended.
const start = `#!/bin/sh
/bin/busybox --install -s /bin
chmod 755 /
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /run /dev/net
ln -s /run /var/run
for m in $(cat /modules.order); do insmod $m || echo "vm: module $m did not load"; done
ip link set lo up
sh /script
echo "` + exitMark + `$?"
poweroff -f
`

// pack writes the guest's file system.
func pack(name string, k kernel, add additions, script []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	a := newArchive(w)
	for _, d := range []string{"bin", "sbin", "dev", "proc", "sys", "etc", "var"} {
		if err := a.dir(d); err != nil {
			return err
		}
	}
	box, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := a.copy(box, "/bin/busybox"); err != nil {
		return err
	}
	if err := a.symlink("/bin/sh", "busybox"); err != nil {
		return err
	}
	order := ""
	for _, m := range modules {
		in := filepath.Join(k.modules, "kernel", m+".ko")
		out := "/modules/" + filepath.Base(in)
		if err := a.copy(in, out); err != nil {
			return err
		}
		order += out + "\n"
	}
	for _, t := range []struct {
		name string
		perm uint32
		data []byte
	}{{"/modules.order", 0o644, []byte(order)}, {"/init", 0o755, []byte(start)}, {"/script", 0o755, script}} {
		if err := a.file(t.name, t.perm, t.data); err != nil {
			return err
		}
	}
	if err := a.programs(add); err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// programs puts the added files, the drivers if a program uses DPDK, and all their libraries into the archive.
func (a *archive) programs(add additions) error {
	drivers := false
	for _, s := range add {
		host, guest, _ := strings.Cut(s, "=")
		if err := a.copy(host, guest); err != nil {
			return err
		}
		libs, err := libraries(host)
		if err != nil {
			return err
		}
		for _, l := range libs {
			drivers = drivers || strings.Contains(l, "librte_eal")
			if err := a.chain(l); err != nil {
				return err
			}
		}
	}
	if !drivers {
		return nil
	}
	dirs, err := filepath.Glob("/usr/lib/x86_64-linux-gnu/dpdk/pmds-*")
	if err != nil || len(dirs) == 0 {
		return fmt.Errorf("no folder of DPDK drivers under /usr/lib/x86_64-linux-gnu/dpdk")
	}
	for _, p := range pmds {
		driver := filepath.Join(dirs[len(dirs)-1], p)
		if err := a.chain(driver); err != nil {
			return err
		}
		libs, err := libraries(driver)
		if err != nil {
			return err
		}
		for _, l := range libs {
			if err := a.chain(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// chain copies a file and every symbolic link on the way to it: a driver that is there twice is loaded twice, and the
// second one fails.
func (a *archive) chain(name string) error {
	for range 8 {
		// A folder on the way may be a link too (/lib), so the place is the real folder's.
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
		if err != nil {
			return err
		}
		if asked := filepath.Dir(name); asked != dir {
			if err := a.folderLinks(asked); err != nil {
				return err
			}
		}
		name = filepath.Join(dir, filepath.Base(name))
		target, err := os.Readlink(name)
		if err != nil {
			return a.copy(name, name)
		}
		if err := a.symlink(name, target); err != nil {
			return err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		name = target
	}
	return fmt.Errorf("%s: too many symbolic links", name)
}

// folderLinks copies the links among the parents of a path, such as /lib -> usr/lib.
func (a *archive) folderLinks(dir string) error {
	at := ""
	for _, part := range strings.Split(strings.Trim(dir, "/"), "/") {
		at += "/" + part
		if target, err := os.Readlink(at); err == nil {
			return a.symlink(at, target)
		}
	}
	return nil
}

// copy puts a host file at a guest path.
func (a *archive) copy(host, guest string) error {
	data, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	return a.file(guest, uint32(info.Mode().Perm()), data)
}

// libraries are the shared libraries that an ELF file needs, the loader included; none for other files.
func libraries(name string) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(data, []byte("\x7fELF")) {
		return nil, nil
	}
	out, err := exec.Command("ldd", name).CombinedOutput()
	if err != nil {
		if bytes.Contains(out, []byte("not a dynamic executable")) {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return parseLdd(string(out))
}

// parseLdd reads lines such as "libm.so.6 => /lib/libm.so.6 (0x7f…)" and "/lib64/ld-linux-x86-64.so.2 (0x7f…)".
func parseLdd(out string) ([]string, error) {
	var libs []string
	for _, line := range strings.Split(out, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(line, "not found") {
			return nil, fmt.Errorf("a library is missing: %s", line)
		}
		if _, right, ok := strings.Cut(line, " => "); ok {
			line = right
		}
		if file, _, ok := strings.Cut(line, " ("); ok && strings.HasPrefix(file, "/") {
			libs = append(libs, file)
		}
	}
	return libs, nil
}
