import subprocess
def test_machine(functions, host):
    print(subprocess.run("lspci -nn; ls /dev/vfio; free -m; nproc", shell=True, capture_output=True, text=True).stdout)
    for f in functions.values():
        f.give_to("vfio-pci")
    print(subprocess.run("ls -la /dev/vfio; cat /proc/uptime", shell=True, capture_output=True, text=True).stdout)
    print(host.ask("frames", number=1))
    assert 0
