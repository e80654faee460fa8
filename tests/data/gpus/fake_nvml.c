/* A stand-in for libnvidia-ml.so.1: FAKE_NVML names the machine that it plays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, FUNCTION_NOT_FOUND = 13, GPU_IS_LOST = 15, VERSION_MISMATCH = 18 };

static const unsigned long long MIB = 1ull << 20;
static int plays(const char *machine) { const char *name = getenv("FAKE_NVML"); return name && !strcmp(name, machine); }
/* Handles: 1 and 2 are GPUs, 11 and 12 instances of the first. */
static long number(void *handle) { return (long)handle; }

int nvmlInitWithFlags(unsigned flags) {
    if (plays("mismatch")) return VERSION_MISMATCH;
    if (plays("hang")) sleep(60);
    return OK;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == 777 ? "Something New" : "Unknown Error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.95.05"); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = plays("empty") ? 0 : plays("mig") ? 1 : 2; return plays("new") ? 777 : OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(long)(index + 1);
    return plays("lost") && index == 1 ? GPU_IS_LOST : OK;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    snprintf(text, size, number(handle) > 10 ? "NVIDIA H100 80GB HBM3 MIG 3g.40gb" : "NVIDIA H100 80GB HBM3");
    return OK;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    snprintf(text, size, number(handle) > 10 ? "MIG-0000000%ld" : "GPU-0000000%ld", number(handle) % 10);
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_v1 *memory) {
    *memory = (memory_v1){81559 * MIB, 81008 * MIB, 551 * MIB};
    return OK;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2 *memory) {
    if (plays("old")) return FUNCTION_NOT_FOUND;
    if (plays("unified")) return NOT_SUPPORTED;
    if (number(handle) > 10) *memory = (memory_v2){memory->version, 40448 * MIB, 0, 40150 * MIB, 298 * MIB};
    else *memory = (memory_v2){memory->version, 81559 * MIB, 480 * MIB, 81079 * MIB, 0};
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) { *major = 9; *minor = 0; return OK; }
int nvmlDeviceGetMaxPcieLinkGeneration(void *handle, unsigned *generation) { *generation = 5; return OK; }
int nvmlDeviceGetMaxPcieLinkWidth(void *handle, unsigned *width) { *width = 16; return OK; }
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    *current = *pending = plays("mig");
    return plays("old") ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
    *instance = (void *)(long)(index + 11);
    return index < 2 ? OK : NOT_FOUND;
}
int nvmlDeviceGetP2PStatus(void *first, void *second, int index, int *status) { *status = plays("pcie") ? 5 : 0; return OK; }
int nvmlDeviceGetTopologyCommonAncestor(void *first, void *second, int *level) { *level = 50; return OK; }
